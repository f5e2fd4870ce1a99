"""The summary of a run: its results, from what was trained and how far it came."""

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from gpt.base.losses import LossScope
from gpt.config.schema import Documented
from gpt.runs.records import Summary
from gpt.session.summary import summarise
from gpt.training.state import State
from tests.conftest import CPU
from tests.losses import evaluation, exact


def summary_of(progress: State, changed: list[str], last_batch: float = 1.8, **config: Any) -> Summary:
    documented = Documented(train=None, val=2.0, kind="estimated")
    chosen = {"stage": "v5", "name": None, "tags": [], "seed": 7, "documented": documented, "target": None} | config
    task = SimpleNamespace(left_out=lambda _: None, over=lambda split, *_: LossScope(split=split))
    trainer: Any = SimpleNamespace(
        config=SimpleNamespace(**chosen),
        data=SimpleNamespace(lengths_vary=True, estimated_over=None),
        model=nn.Linear(9, 10),
        runtime=CPU,
        task=task,
        corpus=None,
        state=progress,
        last_batch=torch.tensor(last_batch, dtype=torch.float64),
        tokens_per_second=256.4,
        skipped=torch.ones(()),
    )
    return summarise(trainer, exact(1.9, 8, 8), changed, seconds=3.14159)


def test_the_summary_has_the_last_and_the_best_evaluation() -> None:
    evaluations = [evaluation(i, 3.0 - i, val) for i, val in enumerate([3.0, 1.0, 2.0])]
    progress = State(iteration=2, tokens=512, evaluations=evaluations, best_iteration=1)
    summary = summary_of(progress, ["seed=7"], name="wide", tags=["a"])
    assert (summary.stage, summary.name, summary.tags, summary.parameters) == ("v5", "wide", ["a"], 100)
    assert summary.changed == ["seed=7"]
    assert (summary.estimated.train.nats, summary.estimated.val.nats) == (1.0, 2.0)
    assert (summary.best.nats, summary.best.weights) == (1.0, 1)
    assert (summary.iterations, summary.exact.nats, summary.last_batch and summary.last_batch.nats) == (2, 1.9, 1.8)
    assert (summary.tokens_per_second, summary.seconds, summary.skipped) == (256, 3.14, 1)
    assert (summary.device, summary.dtype) == ("cpu", "float32")
    assert summary.versions["torch"] == torch.__version__
    assert summary.finished.tzinfo is not None


def test_without_saved_weights_the_best_is_the_lowest_loss() -> None:
    evaluations = [evaluation(i, v, v) for i, v in enumerate([3.0, 1.0, 2.0])]
    found = summary_of(State(iteration=2, evaluations=evaluations), [])
    assert (found.best.nats, found.best.weights) == (1.0, 1)


def test_without_an_update_there_is_no_last_mini_batch() -> None:
    progress = State(iteration=0, evaluations=[evaluation(0, 3.0, 3.0)])
    assert summary_of(progress, [], last_batch=math.nan).last_batch is None
