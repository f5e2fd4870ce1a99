"""Signals at random moments of a run."""

import random
import signal
import time
from pathlib import Path

import pytest

from gpt.runs.folder import RunFolder
from tests.conftest import small_size
from tests.faults.trials import differences, finish, is_one_line, runs_in, start, whole_run

_SIGNALS = [signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]


@pytest.mark.parametrize(
    ("stage", "iterations", "trials"),
    [
        ("v1", 60, 1),
        ("v7", 60, 1),
        pytest.param("v7", 400, 10, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(
    stage: str, iterations: int, trials: int, tmp_path: Path
) -> None:
    """With a checkpoint at every tenth iteration, so that many kills find one being written."""
    settings = [
        f"model={stage}", *(f"model.{name}={value}" for name, value in small_size(stage).items()),
        f"training.max_iters={iterations}", "training.eval_interval=50", "training.eval_iters=20",
        "training.batch_size=8", "checkpoint.interval=10", "checkpoint.min_seconds=0", "device=cpu",
    ]  # fmt: skip
    whole, seconds = whole_run(tmp_path / "whole", *settings)
    for trial in range(trials):
        place, draw, arguments = tmp_path / str(trial), random.Random(f"{stage} {trial}"), settings
        place.mkdir()
        for sent in draw.choices(_SIGNALS, k=draw.randint(1, 4)) if trials > 1 else [signal.SIGKILL]:
            process = start(*arguments, cwd=place)
            time.sleep(draw.uniform(0.2, 1) * seconds)
            process.send_signal(sent)
            code, err = finish(process)
            runs = runs_in(place)
            arguments = [f"resume={runs[0]}"] if runs else settings
            if runs and not RunFolder(runs[0]).is_finished() and sent != signal.SIGKILL:
                assert (code, is_one_line(err)) == (130 if sent == signal.SIGINT else 143, True), err
        code, err = finish(start(*arguments, cwd=place))
        assert (code, differences(whole, *runs_in(place))) == (0, []), err
