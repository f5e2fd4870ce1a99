"""Metrics are means over every target of the batches that the losses are estimated over."""

import csv
import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.base.errors import RequestError
from gpt.data.batch import IGNORED, Batch
from gpt.data.text import TextData
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.training.metrics import Metric, chosen_metrics, entropy
from gpt.training.state import Means, State
from gpt.watching.console import ConsoleLog
from gpt.watching.loggers import Csv
from tests.conftest import empty_run
from tests.training.helpers import choice, small_trainer, train_recorded, train_up, weights


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The loss as a metric."""
    return cross_entropy(model(*batch.inputs).flatten(0, 1), batch.targets.flatten())


def nan(model: nn.Module, batch: Batch) -> Tensor:
    return loss(model, batch) * math.nan


def entropies() -> dict[str, Metric]:
    return chosen_metrics({"entropy": choice("metrics", "entropy")})


LOGITS = (torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0]]) + 1e-30).log()


def test_the_entropy_of_a_prediction_is_that_of_its_distribution() -> None:
    found = entropy(LOGITS, torch.zeros(3, dtype=torch.int64))
    assert found.tolist() == pytest.approx([math.log(2), 1.5 * math.log(2), 0.0], abs=1e-6)


def test_padding_does_not_count_in_the_entropy() -> None:
    batch = Batch((torch.tensor([[0, 2, 1, 1]]),), torch.tensor([[1, 1, IGNORED, IGNORED]]), tokens=2)
    (mean,) = entropies().values()
    assert mean(lambda idx: LOGITS[idx], batch).item() == pytest.approx(math.log(2) / 2)


def test_a_metric_uses_the_batches_of_the_loss(data: TextData) -> None:
    """It has no value if it is not finite."""
    plain = small_trainer("v7")  # which draws dropout masks
    train_up(plain, data)
    trainer = small_trainer("v7")
    train_up(trainer, data, metrics={"again": loss, "nan": nan})
    for evaluation in trainer.state.evaluations:
        again, none = Means(train=evaluation.train, val=evaluation.val), Means(train=None, val=None)
        assert evaluation.metrics == {"again": again, "nan": none}
    assert State.model_validate_json(trainer.state.model_dump_json()) == trainer.state
    assert weights(trainer) == weights(plain)
    assert [e.val for e in trainer.state.evaluations] == [e.val for e in plain.state.evaluations]


def test_a_metric_is_recorded_printed_and_tabled(
    data: TextData, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run, trainer = empty_run(tmp_path / "run"), small_trainer("v1")
    with caplog.at_level(logging.INFO, "gpt"):
        metrics = entropies() | {"nan": nan}
        train_recorded(trainer, data, run, watchers=[Csv(run), ConsoleLog()], metrics=metrics)
    last = trainer.state.evaluations[-1]
    assert RunFolder(run.path).evaluations()[-1] == last
    means = last.metrics["entropy"]
    assert means.train is not None
    assert f"   entropy {means.train:.4f} train, {means.val:.4f} val   nan - train, - val   lr" in caplog.messages[-1]
    with (run.path / "metrics.csv").open(newline="") as file:
        *_, row = csv.DictReader(file)
    assert (float(row["entropy_train"]), float(row["entropy_val"])) == (means.train, means.val)
    assert "nan_val" not in row


def test_a_metric_with_a_taken_name_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^metrics\.loss"):
        chosen_metrics({"loss": choice("metrics", "entropy")})


def test_a_function_that_is_no_metric_is_refused() -> None:
    wrong = Choice.model_validate({"_target_": "gpt.training.schedules.cosine"})
    with pytest.raises(RequestError, match=r"^metrics\.mine\._target_="):
        chosen_metrics({"mine": wrong})
