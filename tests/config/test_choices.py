"""Choices of a configuration: only code of the package and of the right type is found, and values are checked."""

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt import models
from gpt.base.errors import RequestError
from gpt.data.corpora import LOADER
from gpt.models import STAGE
from gpt.models.v6_pre_norm import GPT
from gpt.registry import Choice, Registry
from gpt.training.metrics import METRIC
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE, cosine
from gpt.watching.loggers import LOGGER
from tests.conftest import REPOSITORY

KINDS = {
    "model": STAGE,
    "data": LOADER,
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "logger": LOGGER,
    "metrics": METRIC,
}
V6 = {"_target_": "gpt.models.v6_pre_norm.GPT", "block_size": 8, "n_embd": 32, "n_head": 4, "n_layer": 3}


def chosen(target: str, **values: Any) -> Choice:
    return Choice.model_validate({"_target_": target} | values)


def refusal(kind: Registry, target: str, **values: Any) -> str:
    """Why a choice is refused, in one line."""
    with pytest.raises(RequestError) as refused:
        kind.partial(chosen(target, **values))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_choice_of_conf_is_found() -> None:
    """By the kind of its group alone."""
    conf = [(group, path.read_text()) for group in KINDS for path in (REPOSITORY / "conf" / group).glob("*.yaml")]
    targets = [(group, target) for group, text in conf for target in re.findall(r"_target_: (\S+)", text)]
    assert len(targets) >= 23
    for group, target in targets:
        found = KINDS[group].find(chosen(target))
        assert f"{found.__module__}.{found.__qualname__}" == target
        for other in KINDS.keys() - {group}:
            with pytest.raises(RequestError, match="_target_"):
                KINDS[other].find(chosen(target))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gpt.data.pairs", raising=False)
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # as if it were not installed
    assert "tokenizers" in refusal(LOADER, "gpt.data.pairs.Subwords")


def test_a_choice_is_called_with_its_own_and_given_values() -> None:
    model = STAGE.build(Choice.model_validate(V6), vocab_size=65)
    assert isinstance(model, GPT)
    assert (model.block_size, len(model.blocks), model.lm_head.out_features) == (8, 3, 65)
    schedule = SCHEDULE.partial(chosen("gpt.training.schedules.cosine", warmup_iters=3, final=0.5))
    assert schedule(7, 10, 2.0) == cosine(7, 10, 2.0, warmup_iters=3, final=0.5)
    assert LOADER.hyperparameters(lambda anything: None)["anything"].annotation is Any


FOREIGN = [
    "os.system", "builtins.eval", "torch.load", "gpt.cli.main", "gpt.runs.folder.RunFolder",
    "gpt.config.choices.Choice", "gpt.data.corpora.tiny_shakespeare", "gpt.models.os.system", "gpt.models.build",
    "gpt.models.STAGE", "gpt.models",
    "tests.conftest.build", "__main__.main", "", "...", ".GPT", "gpt.models.v6_pre_norm.",
    "gpt.models..v6_pre_norm.GPT", "gpt.models.v6_pre_norm.GPT.forward", "gpt.models.v6_pre_norm.nn.Module",
    "gpt.models.v6_pre_norm.Tensor", "gpt.models.v6_pre_norm.__builtins__", "gpt.models.absent.GPT", "../../etc/passwd",
    "gpt.models.v6_pre_norm.GPT ",
]  # fmt: skip


def test_every_kind_refuses_what_is_foreign_or_of_another_type() -> None:
    for kind, target in itertools.product(KINDS.values(), FOREIGN):
        assert refusal(kind, target).startswith(f"{kind.key}._target_={target}".strip())


# What the packages define besides choices: parts of them, private helpers, abstract classes, imports.
UNSUITABLE = {
    "model": ["models.v6_pre_norm.Block", "models.v6_pre_norm.MultiHeadAttention"],  # no stage; defined elsewhere
    "data": ["data.corpora.TextCorpus", "data.corpora._made_up", "data.byte_level.written"],
    "optimizer": ["training.optimizers.Optimizer", "training.optimizers.orthogonalised"],  # abstract; no class
    "schedule": ["training.schedules._warmup"],
    "logger": ["watching.recorder.Recorder", "watching.trackers.Tracker"],  # made by train.py itself; a base
    "metrics": ["training.metrics.means", "training.evaluation.batch_loss"],
}


def test_what_a_choice_is_not_meant_for_is_refused() -> None:
    for kind, target in ((KINDS[key], f"gpt.{target}") for key, targets in UNSUITABLE.items() for target in targets):
        assert re.search(r"_target_=.*(?<!no such module)$", refusal(kind, target)), target


PARTS = ["gpt", "models", "training", "data", "GPT", "", "\n", "v6_pre_norm", "loggers", "Watcher", "os", "__init__"]


@given(kind=st.sampled_from([*KINDS.values()]), target=st.text() | st.lists(st.sampled_from(PARTS)).map(".".join))
def test_any_other_name_is_refused_in_one_line(kind: Registry, target: str) -> None:
    with pytest.raises(RequestError) as error:
        kind.find(chosen(target))
    assert len(str(error.value).splitlines()) == 1


def test_looking_for_a_choice_imports_no_foreign_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that only must be imported to do harm is not."""
    (tmp_path / "harmful.py").write_text("from pathlib import Path\nPath(__file__).with_name('executed').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("harmful.GPT", "gpt.models.harmful.GPT", "harmful"):
        with pytest.raises(RequestError):
            STAGE.find(chosen(target))
    assert not (tmp_path / "executed").exists()


WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"n_embed": 32}, "model.n_embed "),
    ({"vocab_size": 65}, "model.vocab_size "),  # given
    ({"n_layer": None}, "model.n_layer=null: "),
    ({"n_layer": 0}, "model.n_layer=0: "),
    ({"n_layer": 257}, "model.n_layer=257: "),
    ({"n_layer": 3.0}, "model.n_layer=3.0: "),
    ({"n_layer": "3"}, "model.n_layer=3: "),
    ({"n_layer": {"a": 1}}, "model.n_layer: "),
    ({"n_embd": "x" * 1000}, "model.n_embd=" + "x" * 60 + "...: "),
    ({"n_embd": "a\nb"}, "model.n_embd=a b: "),
]


def test_a_wrong_or_missing_hyperparameter_is_named() -> None:
    values = {key: value for key, value in V6.items() if key != "_target_"}
    for change, named in WRONG_VALUES:
        assert refusal(STAGE, str(V6["_target_"]), **values | change).startswith(named)
    del values["n_layer"]
    assert refusal(STAGE, str(V6["_target_"]), **values).startswith("model.n_layer ")


ADAMW = {"weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95}


def test_what_the_program_gives_is_no_hyperparameter() -> None:
    for name in OPTIMIZER.given:
        told = refusal(OPTIMIZER, "gpt.training.optimizers.AdamW", **ADAMW, **{name: 1.0})
        assert told.startswith(f"optimizer.{name} ")
        assert told.endswith(" weight_decay, beta1, beta2")  # what it takes


def test_a_combination_that_the_constructor_refuses_is_one_line() -> None:
    with pytest.raises(RequestError, match=r"^model: ") as error:
        models.build(Choice.model_validate(V6 | {"n_head": 5}), 65)
    assert "\n" not in str(error.value)
