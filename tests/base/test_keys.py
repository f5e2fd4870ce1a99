"""What is declared of the keys of a training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gpt.base import keys
from gpt.base.command_schemas import EvaluateConfig, GenerateConfig
from gpt.base.schema import Key, Schema, TrainConfig
from gpt.cli.requesting import of_python
from gpt.runs.finding import has_same_config
from tests.conftest import REPOSITORY, empty_run


def every_key(schema: type[Schema]) -> Iterator[tuple[str, Key | None]]:
    """The keys of a schema and of the groups in it, with what each declares itself."""
    for name, field in schema.model_fields.items():
        yield name, next((declared for declared in field.metadata if isinstance(declared, Key)), None)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Schema):
            yield from ((f"{name}.{inner}", declared) for inner, declared in every_key(field.annotation))


def test_every_key_says_whether_runs_that_differ_in_it_are_the_same() -> None:
    """A `Key` cannot be made without, and the one of the group around it does not count."""
    found = dict(every_key(TrainConfig))
    assert {"training.max_iters", "checkpoint.keep", "seed"} <= found.keys()
    assert [name for name, declared in found.items() if declared is None] == []
    with pytest.raises(TypeError, match="same"):
        Key()  # type: ignore[call-arg]


def test_a_run_that_is_older_than_a_key_has_its_default(tmp_path: Path) -> None:
    """So resume=auto finds it: here without an optional key of the schema, and without hyperparameters."""
    config, _ = of_python(["model=v7", "data=text", "data.path=a.txt"])
    content = config.content()
    for group, key in (("training", "epochs"), ("data", "encoding"), ("data", "split")):
        del content[group][key]
    run = empty_run(tmp_path / "run")
    run.write_config(TrainConfig.model_validate(content))
    assert has_same_config(run, config)
    other, _ = of_python(["model=v7", "data=text", "data.path=a.txt", "data.split=lines"])
    assert not has_same_config(run, other)


def test_a_hyperparameter_that_is_annotated_as_a_path_is_one() -> None:
    names = ("dir", "path", "files", "source", "target", "separator", "name", "subset", "field", "train_fraction")
    assert [name for name in names if keys.declared(f"data.{name}").is_path] == [*names[:5]]


def test_what_identifies_a_run_is_known_by_key_and_by_group() -> None:
    for given in ("model.n_layer", "data.vocab_size", "seed", "hydra.run.dir"):
        assert keys.identifying(given) == [given]
    # data= says where the corpus is; another tokenizer would have to be named.
    groups = {"model": "stage", "data": "data._target_", "training": "training.multi_token"}
    assert {given: keys.identifying(given) for given in groups} == {given: [key] for given, key in groups.items()}
    assert [given for given in ("data.path", "training.max_iters", "resume") if keys.identifying(given)] == []


def test_a_number_of_subwords_counts_with_subwords_only() -> None:
    for tokenizer, counts in (("characters", False), ("bytes", False), ("gpt2", False), ("subwords", True)):
        settings = {"data.tokenizer": tokenizer, "data.vocab_size": 500}
        assert keys.compared("data.vocab_size", settings) == keys.grouped("data.vocab_size", settings) == counts
    assert keys.compared("data.vocab_size", {"data.vocab_size": 4000})  # of sentence pairs
    assert not keys.compared("training.eval_interval", {"training.average_last": 0.0})


def test_texts_paths_and_lists_are_taken_as_they_were_typed() -> None:
    data = ("dir", "path", "files", "source", "target", "separator", "name", "subset", "field")
    literal = {*(f"data.{name}" for name in data), "logger.wandb.project", "init", "resume", "tags"}
    others = {"data.train_fraction", "stage", "name", "runs", "seed", "model.n_layer"}
    assert {name for name in literal | others if keys.literal(TrainConfig, name)} == literal
    assert {name for name in others if keys.textual(TrainConfig, name)} == {"stage", "name", "runs"}
    assert keys.escaping(TrainConfig) == ("data.separator",)
    assert {*keys.escaping(GenerateConfig)} == {"prompt", "separator", "stop"}
    assert [name for name in ("data.path", "run", "text", "split") if keys.literal(EvaluateConfig, name)] == [
        "data.path", "run", "text",
    ]  # fmt: skip


def test_the_schema_has_the_keys_of_conf() -> None:
    conf = yaml.safe_load(Path(REPOSITORY, "conf", "train.yaml").read_text())
    assert set(conf) - {"defaults", "hydra"} | {*keys.choice_groups(), "adds", "documented"} == {
        field.alias or name for name, field in TrainConfig.model_fields.items()
    }
