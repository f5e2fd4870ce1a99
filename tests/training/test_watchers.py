"""Watchers are told what happens, in order; the guard, the writers and the average do what they promise."""

import csv
import errno
import itertools
import logging
import math
import os
import signal
import time
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gpt.base.errors import DivergedError, UserError
from gpt.data.text import TextData
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_weights
from gpt.training.averaging import MovingAverage, WeightAverage
from gpt.training.loop import train
from gpt.training.state import State
from gpt.training.trainer import Trainer
from gpt.training.watchers import NonFiniteGuard, Watcher
from gpt.watching.console import ConsoleLog
from gpt.watching.loggers import LOGGER
from gpt.watching.recorder import Recorder
from tests.conftest import build_small, empty_run
from tests.losses import evaluation
from tests.training.helpers import (
    VOCAB_SIZE,
    bits,
    checkpoints,
    choice,
    configured,
    exploding_loss,
    small_schedule,
    small_trainer,
    train_recorded,
    train_small,
    train_up,
    weights,
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return empty_run(tmp_path / "run")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class Diary(Watcher):
    """What it is told and after which iteration, and where there are gradients, of the watchers that share it."""

    def __init__(self, pages: list[tuple[Any, ...]], name: str = "") -> None:
        self.name, self.pages = name, pages

    def _note(self, moment: str, trainer: Trainer) -> None:
        gradients = [parameter.grad for parameter in trainer.optimizer.parameters.values()]
        assert all(x is not None and bool(x.any()) for x in gradients) == (moment == "updated")
        self.pages.append((moment, trainer.state.iteration, self.name))

    evaluated = partialmethod(_note, "evaluated")
    updated = partialmethod(_note, "updated")
    stepped = partialmethod(_note, "stepped")
    finished = partialmethod(_note, "finished")

    def between_steps(self, trainer: Trainer, is_last: bool) -> None:
        self._note("last" if is_last else "between", trainer)


def test_watchers_are_told_of_each_moment_in_their_order(data: TextData) -> None:
    pages: list[tuple[Any, ...]] = []
    watchers = [Diary(pages, name) for name in "cab"]
    trainer = small_trainer("v2")
    train_up(trainer, data, watchers=watchers, max_iters=3, eval_interval=2)
    moments = [
        ("evaluated", 0), ("between", 0), ("updated", 1), ("stepped", 1),
        ("between", 1), ("updated", 2), ("stepped", 2),
        ("evaluated", 2), ("between", 2), ("updated", 3), ("stepped", 3),
        ("evaluated", 3), ("last", 3), ("finished", 3),
    ]  # fmt: skip
    assert pages == [(*moment, name) for moment in moments for name in "cab"]
    pages.clear()
    train_up(trainer, data, watchers=watchers[:1], max_iters=3)  # with nothing left to do
    assert pages == [("last", 3, "c"), ("finished", 3, "c")]


# NonFiniteGuard


def test_the_guard_stops_at_the_evaluation_after_bad_updates(data: TextData) -> None:
    trainer, pages = small_trainer("v1", optimizer="muon"), []
    watchers, schedule = [NonFiniteGuard(trainer), Diary(pages)], small_schedule(warmup_iters=10)
    with pytest.raises(DivergedError) as error:
        train_up(trainer, data, watchers=watchers, schedule=schedule, loss=exploding_loss(math.nan, 3, 7))
    for value in ("2 updates", "3 iterations", "0.008, 0.0004"):
        assert value in str(error.value)
    assert trainer.state.iteration == 10
    assert ("evaluated", 10, "") not in pages


def test_the_guard_reports_nothing_that_preceded_a_resume(data: TextData, caplog: pytest.LogCaptureFixture) -> None:
    trainer = small_trainer("v1")
    train_up(trainer, data, max_iters=10, loss=exploding_loss(math.inf, 3))
    train_up(trainer, data, watchers=[NonFiniteGuard(trainer)])
    assert trainer.state.iteration == 20
    assert caplog.messages == []


def test_a_reported_nan_ends_training_even_with_skipping(data: TextData) -> None:
    trainer = small_trainer("v1")
    lost: dict[str, Any] = {"reported_loss": exploding_loss(math.nan, *range(99)), "on_nonfinite": "skip"}
    with pytest.raises(DivergedError, match="nan"):
        train_up(trainer, data, watchers=[NonFiniteGuard(trainer)], **lost)


# WeightAverage


class Weights(Watcher):
    """The weights after each step and at each evaluation, by iteration."""

    def __init__(self) -> None:
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def stepped(self, trainer: Trainer) -> None:
        now = {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}
        self.weights[trainer.state.iteration] = now

    evaluated = stepped


@pytest.mark.parametrize(("start", "averaged"), [(9.9, [10, 15, 20]), (21, [])])
def test_the_average_is_the_mean_weight_at_its_evaluations(
    data: TextData, run: RunFolder, start: float, averaged: list[int]
) -> None:
    settings: dict[str, Any] = {"learning_rate": 0.01, "eval_interval": 5}
    plain, trainer, snapshots = train_small("v5", data, **settings), small_trainer("v5", learning_rate=0.01), Weights()
    watchers = [snapshots, WeightAverage(start)]
    train_up(trainer, data, watchers=[*watchers, Recorder(trainer, run, NonFiniteGuard(trainer))], eval_interval=5)
    assert trainer.state.averaged == averaged
    last, saved = (build_small("v5", vocab_size=VOCAB_SIZE) for _ in range(2))
    load_weights(run, last, "last")
    assert bits(last.state_dict()) == weights(plain)
    assert run.weights("averaged").exists() == bool(averaged)
    load_weights(run, saved, "averaged" if averaged else "last")
    assert bits(saved.state_dict()) == weights(trainer)
    for name, weight in trainer.model.state_dict().items():
        mean = torch.stack([snapshots.weights[i][name].double() for i in averaged or [20]]).mean(0).float()
        torch.testing.assert_close(weight, mean, atol=1e-6, rtol=1e-5)


# MovingAverage


def test_the_moving_average_has_a_decay_that_warms_up(data: TextData) -> None:
    trainer, kept = small_trainer("v6"), Weights()
    train_up(trainer, data, watchers=[kept], max_iters=2)
    train_up(trainer, data, watchers=[kept, MovingAverage(trainer, 0.6)])
    for name, average in trainer.model.state_dict().items():
        expected = kept.weights[2][name].double()
        for t in range(3, 21):
            d = min(0.6, (1 + t) / (10 + t))
            expected = d * expected + (1 - d) * kept.weights[t][name]
        assert torch.allclose(average.double(), expected, atol=1e-6)


# RunWriter


def test_the_run_keeps_the_best_and_the_last_weights(data: TextData, run: RunFolder) -> None:
    snapshots, trainer = Weights(), small_trainer("v1", learning_rate=3.0)

    def ruinous(iteration: int, max_iters: int, peak: float) -> float:
        return 0.1 if iteration < 10 else peak

    recorder = train_recorded(trainer, data, run, schedule=ruinous, watchers=[snapshots], eval_interval=5)
    evaluations = trainer.state.evaluations
    assert [evaluation.iteration for evaluation in evaluations] == [0, 5, 10, 15, 20]
    lowest = min(evaluations, key=lambda e: e.val)
    assert 0 < lowest.iteration < 20
    assert trainer.state.best == lowest
    for which, iteration in (("best", lowest.iteration), ("last", 20)):
        saved = build_small("v1", vocab_size=VOCAB_SIZE)
        load_weights(run, saved, which)  # type: ignore[arg-type]
        assert bits(saved.state_dict()) == bits(snapshots.weights[iteration])
    assert run.evaluations() == evaluations
    trainer.state.evaluations.append(lowest.model_copy(update={"iteration": 25}))
    recorder.evaluated(trainer)
    assert trainer.state.best == lowest  # of equal losses, the first


# CheckpointWriter


class Clock(Watcher):
    """A clock on which every step takes a second, and only what a test says takes any more."""

    now = 1000.0

    def stepped(self, trainer: Trainer) -> None:
        self.now += 1.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


@pytest.mark.parametrize(
    ("min_seconds", "save", "expected"),
    [
        (0, 100.0, [6, 12, 18, 20]),  # however long they take
        (6.1, 0.0, [12, 20]),
        (0.5, 0.11, [6, 12, 18, 20]),  # after one that took s seconds the next comes 50 s later
        (0.5, 0.13, [6, 18, 20]),
    ],
)
def test_checkpoints_are_due_by_interval_seconds_and_their_cost(
    data: TextData,
    run: RunFolder,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    min_seconds: float,
    save: float,
    expected: list[int],
) -> None:
    saved, write = list[int](), Checkpoints.save

    def slow(self: Checkpoints, state: State, tensors: dict[str, torch.Tensor]) -> None:
        write(self, state, tensors)
        saved.append(state.iteration)
        clock.now += save

    monkeypatch.setattr(Checkpoints, "save", slow)
    trainer, settings = small_trainer("v1"), {"checkpoint": checkpoints(interval=6, min_seconds=min_seconds)}
    configured(trainer, data, eval_interval=1000, **settings)
    guard = NonFiniteGuard(trainer)
    recorder = Recorder(trainer, run, guard)
    train(trainer, [clock, guard, recorder])
    assert recorder.is_saved(trainer)
    assert saved == expected
    assert run.checkpoints() == expected[-2:]
    assert trainer.state.seconds == pytest.approx(20)  # of the steps alone
    assert Checkpoint.read(run.checkpoint(20)).state.seconds == pytest.approx(20)
    train_recorded(trainer, data, run, max_iters=30, checkpoint=checkpoints(interval=20, min_seconds=0))
    assert saved == [*expected, 30]  # and not again where it starts


@pytest.mark.parametrize("signal_at", [8, 7])
def test_no_checkpoint_is_saved_after_a_bad_update(data: TextData, run: RunFolder, signal_at: int) -> None:
    """When one is due, and when one is made because of a signal."""
    trainer = small_trainer("v1")

    class Signal(Watcher):
        def stepped(self, trainer: Trainer) -> None:
            if trainer.state.iteration == signal_at:
                signal.raise_signal(signal.SIGTERM)

    settings: dict[str, Any] = {"checkpoint": checkpoints(interval=4, min_seconds=0), "watchers": [Signal()]}
    with pytest.raises(DivergedError, match="5 iterations"):
        train_recorded(trainer, data, run, loss=exploding_loss(math.nan, 5), **settings)
    assert trainer.state.iteration == signal_at
    assert run.checkpoints() == [4]


def test_on_a_full_disk_a_run_continues_then_fails(
    data: TextData, run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run whose last weights are lost has not succeeded."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_disk() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    trainer = small_trainer("v1", learning_rate=0.03)
    settings: dict[str, Any] = {"checkpoint": checkpoints(interval=6, min_seconds=0, snapshots=2)}
    train_recorded(trainer, data, run, max_iters=6, **settings)
    best, before = trainer.state.best, on_disk()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        train_recorded(trainer, data, run, **settings)
    assert trainer.state.iteration == 20
    assert trainer.state.best == best  # the evaluation whose weights are saved
    assert on_disk() == before
    told = warnings_of(caplog)
    assert all("No space left on device" in line and "\n" not in line for line in told)
    for what in ("the best weights", "the metrics", "the snapshot of iteration 20", "a checkpoint"):
        assert any(what in line for line in told), told


def test_a_run_whose_folder_is_moved_away_ends_in_one_line(data: TextData, run: RunFolder) -> None:
    class Moving(Watcher):
        def stepped(self, trainer: Trainer) -> None:
            if trainer.state.iteration == 7:
                run.path.rename(run.path.with_name("elsewhere"))

    trainer = small_trainer("v1")
    with pytest.raises(UserError, match="run is gone"):
        train_recorded(trainer, data, run, watchers=[Moving()])
    assert trainer.state.iteration == 10
    assert not run.path.exists()


# ConsoleLog and ProgressBar


def test_the_console_says_how_long_training_will_take(
    data: TextData, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock on which each look takes a minute: the first of 20 iterations is over after two of them."""
    clock = itertools.count(step=60.0)
    monkeypatch.setattr("gpt.watching.console.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(data, "epoch_tokens", 7 * 32 * 8)
    trainer, console = small_trainer("v5", optimizer="muon"), ConsoleLog("experiment=v7_cpu")
    monkeypatch.setattr(trainer.task, "examples", lambda *_: ["an example"])
    with caplog.at_level(logging.INFO, "gpt"):
        train_up(trainer, data, watchers=[console])
    lines = [line for line in caplog.messages if line.startswith("iteration")]
    assert [line.partition("   train")[0].split() for line in lines] == [
        ["iteration", "0"],
        ["iteration", "10", "epoch", "1"],
        ["iteration", "20", "epoch", "2"],
    ]
    assert all("train " in line and "val " in line and "lr 2.0e-02 1.0e-03" in line for line in lines)  # of both groups
    assert ["tokens/s" in line for line in lines] == [False, True, True]
    assert [" left" in line for line in lines] == [False, True, False]
    assert caplog.messages.count("an example") == 2
    assert "about 38 min to go at this speed; experiment=v7_cpu takes minutes" in caplog.messages


def test_an_early_end_and_a_loss_that_rises_are_told(data: TextData, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"eval_interval": 1, "patience": 2}
    console = ConsoleLog()
    with caplog.at_level(logging.INFO, "gpt"):
        train_up(small_trainer("v5", learning_rate=3.0), data, watchers=[console], **settings)
    assert caplog.messages[-1].endswith(" 20 iterations: no lower validation loss in 2 evaluations (training.patience)")
    assert "diverging" in warnings_of(caplog)[0]
    caplog.clear()
    trainer = configured(small_trainer("v5"), data)
    for iteration, loss in enumerate((4.0, 4.1)):  # by chance: what is estimated over few targets varies
        trainer.state.evaluations.append(evaluation(iteration, loss, loss))
        console.evaluated(trainer)
    assert warnings_of(caplog) == []


# Loggers


def test_the_csv_logger_writes_every_evaluation_or_warns(
    data: TextData, run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = small_trainer("v1", optimizer="muon")  # with two learning rates
    logger = LOGGER.build(choice("logger", "csv"), run=run)
    train_recorded(trainer, data, run, watchers=[logger], log_interval=5)
    with (run.path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, found in zip(rows, trainer.state.evaluations, strict=True):
        assert (row["iteration"], float(row["val"])) == (str(found.iteration), found.val)
        rates = {name.removeprefix("learning_rate_"): float(rate) for name, rate in row.items() if "rate" in name}
        assert rates == found.learning_rates
    (run.path / "metrics.csv").unlink()
    (run.path / "metrics.csv").mkdir()
    train_up(trainer, data, watchers=[logger], max_iters=30)
    assert trainer.state.iteration == 30
    assert any("metrics.csv" in line for line in warnings_of(caplog))


def test_a_second_signal_during_a_write_ends_the_run(
    data: TextData, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpt.watching.recorder.save_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_recorded(small_trainer("v1"), data, run)
