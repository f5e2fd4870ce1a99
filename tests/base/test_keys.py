"""What is declared of the keys of a training."""

from pathlib import Path

import yaml

from gpt.base import keys
from gpt.base.command_schemas import EvaluateConfig, GenerateConfig
from gpt.base.schema import TrainConfig
from tests.conftest import REPOSITORY


def test_every_key_and_group_of_a_training_is_annotated() -> None:
    for name in TrainConfig.model_fields:
        assert name in keys._declared(TrainConfig)


def test_what_identifies_a_run_is_known_by_key_and_by_group() -> None:
    assert keys.identifying("data") == ["data._target_", "data.vocab_size", "data.tokenizer"]
    assert keys.identifying("optimizer") == ["optimizer._target_"]
    assert keys.identifying("data.vocab_size") == ["data.vocab_size"]
    assert keys.identifying("seed") == ["seed"]
    assert keys.identifying("model.n_layer") == ["model.n_layer"]
    assert keys.identifying("training") == ["training.multi_token"]
    assert keys.identifying("hydra.run.dir") == ["hydra.run.dir"]
    for name in ("training.max_iters", "data.path", "checkpoint", "schedule.warmup_iters"):
        assert keys.identifying(name) == []


def test_a_number_of_subwords_counts_with_subwords_only() -> None:
    for tokenizer, counts in (("characters", False), ("bytes", False), ("gpt2", False), ("subwords", True)):
        settings = {"data.tokenizer": tokenizer, "data.vocab_size": 500}
        assert keys.compared("data.vocab_size", settings) == keys.grouped("data.vocab_size", settings) == counts
    assert keys.compared("data.vocab_size", {"data.vocab_size": 4000})  # of sentence pairs
    assert not keys.compared("training.eval_interval", {"training.average_last": 0.0})


def test_texts_paths_and_lists_are_taken_as_they_were_typed() -> None:
    data = ("dir", "path", "files", "source", "target", "separator", "name", "subset", "field")
    of_data, projects = {f"data.{name}" for name in data}, {"logger.wandb.project", "logger.trackio.project"}
    assert set(keys.literal(TrainConfig)) == of_data | projects | {"init", "resume", "tags"}
    assert set(keys.textual(TrainConfig)) == {*keys.literal(TrainConfig), "stage", "adds", "name", "runs"}
    assert keys.escaping(TrainConfig) == ("data.separator",)
    assert keys.escaping(GenerateConfig) == ("prompt", "stop")
    assert set(keys.literal(EvaluateConfig)) == of_data | {"run", "runs", "text"}


def test_the_schema_has_the_keys_of_conf() -> None:
    conf = yaml.safe_load(Path(REPOSITORY, "conf", "train.yaml").read_text())
    assert set(conf) - {"defaults", "hydra"} | {"model", "data", "optimizer", "schedule", "adds", "documented"} == {
        field.alias or name for name, field in TrainConfig.model_fields.items()
    }
