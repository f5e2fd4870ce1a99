"""What is declared of the keys of a training."""

from pathlib import Path

import pytest
import yaml

from gpt.config import keys
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.config.schema import Key, TrainConfig
from gpt.runs.finding import has_same_settings
from tests.conftest import REPOSITORY, empty_run


def test_every_key_has_a_role() -> None:
    """Its own, or that of the group around it; a `Key` cannot be made without one."""
    roles = {
        "setting": ["model.n_layer", "training.learning_rate", "data.vocab_size", "optimizer", "overfit", "init"],
        "length": ["training.max_iters", "training.epochs", "training.seconds"],
        "measure": ["training.eval_interval", "training.eval_iters", "training.exact_tokens"],
        "repeat": ["seed"],
        "aside": ["device", "logger.wandb.project", "checkpoint.keep", "training.recompute", "hydra.run.dir"],
        "place": ["runs", "resume", "data.path", "data.dir", "data.source"],
        "label": ["name", "tags"],
        "stated": ["stage", "adds", "documented.val"],
    }
    assert {role: [key for key in names if keys.declared(key).role == role] for role, names in roles.items()} == roles
    with pytest.raises(TypeError, match="role"):
        Key()  # type: ignore[call-arg]


def test_a_run_older_than_a_key_has_its_default(tmp_path: Path) -> None:
    """So resume=auto finds it: here without an optional key of the schema, and without hyperparameters."""
    config = compose(read("train", ["model=v7", "data=text", "data.path=a.txt"]))
    content = config.content()
    for group, key in (("training", "epochs"), ("data", "encoding"), ("data", "split")):
        del content[group][key]
    run = empty_run(tmp_path / "run")
    run.write_config(TrainConfig.model_validate(content))
    assert has_same_settings(run.config(), config)
    other = compose(read("train", ["model=v7", "data=text", "data.path=a.txt", "data.split=lines"]))
    assert not has_same_settings(run.config(), other)


def test_the_schema_has_the_keys_of_conf() -> None:
    conf = yaml.safe_load(Path(REPOSITORY, "conf", "train.yaml").read_text())
    assert set(conf) - {"defaults", "hydra"} | {*keys.choice_groups(), "adds", "documented"} == {
        field.alias or name for name, field in TrainConfig.model_fields.items()
    }
