"""What is declared of the keys of a training: as a whole, and of which keys each thing is true."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gpt.base import keys
from gpt.base.schema import EvaluateConfig, TrainConfig
from gpt.cli.composing import composed
from tests.conftest import REPOSITORY

PATHS = {"data.dir", "data.path", "data.files", "data.source", "data.target"}
HOW = {
    "training.eval_interval", "training.grad_accumulation", "training.on_nonfinite", "training.log_interval",
    "training.exact_tokens", "training.recompute", "training.sample_interval",
}  # fmt: skip
ASIDE = {"checkpoint", "logger", "metrics", "target", "name", "tags", "device", "dtype", "compile", "runs"}


def among(key: str, names: set[str]) -> bool:
    """Whether a key or its group is one of `names`."""
    return not names.isdisjoint({key, key.partition(".")[0]})


EXPECTED: dict[Callable[[str], bool], Callable[[str], bool]] = {
    keys.compared: lambda key: among(
        key, {"model", "training", "data", "optimizer", "schedule", "documented", "overfit", "init"}
    ) and key not in PATHS | HOW | {"data.separator"},
    keys.resumable: lambda key: among(
        key, {"training", "optimizer", "schedule", "data", "deterministic", "unknown_characters"} | (ASIDE - {"runs"})
    ) and key not in {
        "data._target_", "data.tokenizer", "data.vocab_size", "optimizer._target_", "training.multi_token"
    },
    keys.grouped: lambda key: not among(
        key,
        PATHS | HOW | ASIDE
        | {"seed", "adds", "documented", "deterministic", "training.eval_iters", "unknown_characters"}
        | {"data.separator"},
    ),
    keys.matched: lambda key: not among(
        key, ASIDE | {"training.log_interval", "training.sample_interval", "training.exact_tokens"}
    ),
}  # fmt: skip


CHOICES = [
    ["model=v7", "optimizer=muon", "logger=[csv,wandb]"],
    ["model=transformer"],
    ["data=text", "schedule=cosine"],
    ["data=parallel", "optimizer=sgd"],
    ["data=huggingface"],
]


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Keys and groups of trainings with choices that have many keys."""
    found = set()
    for overrides in CHOICES:
        tree, settings = composed("train", overrides)
        assert settings["overrides"]["task"] == overrides
        found |= {*keys.flat(tree), *tree}
    assert found >= PATHS | HOW | {"model.dropout", "optimizer.momentum", "logger.wandb.project"}
    return found - {"resume"}


@pytest.mark.parametrize("question", EXPECTED, ids=lambda question: question.__name__)
def test_what_is_declared_holds_for_every_key(question: Callable[[str], bool], names: set[str]) -> None:
    assert {name for name in names if question(name)} == {name for name in names if EXPECTED[question](name)}


def test_every_key_and_group_of_a_training_is_annotated() -> None:
    for name in TrainConfig.model_fields:
        assert name in keys._declared(TrainConfig)


def test_a_name_that_is_no_key_of_a_run_is_neither_compared_nor_resumable() -> None:
    for name in ("experiment", "hydra.run.dir", "nothing"):
        assert not keys.compared(name)
        assert not keys.resumable(name)
        assert keys.identifying(name) == [name]


def test_what_identifies_a_run_is_known_by_key_and_by_group() -> None:
    assert keys.identifying("data") == ["data._target_", "data.vocab_size", "data.tokenizer"]
    assert keys.identifying("optimizer") == ["optimizer._target_"]
    assert keys.identifying("data.vocab_size") == ["data.vocab_size"]
    assert keys.identifying("seed") == ["seed"]
    assert keys.identifying("model.n_layer") == ["model.n_layer"]
    assert keys.identifying("training") == ["training.multi_token"]
    for name in ("training.max_iters", "data.path", "checkpoint", "schedule.warmup_iters"):
        assert keys.identifying(name) == []


def test_paths_and_lists_are_taken_as_they_were_typed() -> None:
    assert set(keys.literal(TrainConfig)) == PATHS | {"init", "resume", "tags"}
    assert set(keys.literal(EvaluateConfig)) == PATHS | {"run", "runs", "text"}


def test_the_schema_has_the_keys_of_conf() -> None:
    conf = yaml.safe_load(Path(REPOSITORY, "conf", "train.yaml").read_text())
    assert set(conf) - {"defaults", "hydra"} | {"model", "data", "optimizer", "schedule", "adds", "documented"} == set(
        TrainConfig.model_fields
    )
