"""Signals at random moments of a run."""

import random
import signal
import time
from pathlib import Path

from gpt.runs.folder import RunFolder
from tests.conftest import small_size
from tests.faults.trials import differences, finish, is_one_line, runs_in, start, whole_run

EXIT_CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


def test_a_stopped_run_ends_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    check_stops(300, [signal.SIGKILL] * 2, tmp_path)  # tests/release/test_stops.py sends twenty signals


def check_stops(iterations: int, signals: list[signal.Signals], tmp_path: Path) -> None:
    """Each signal comes once there is another checkpoint; some find the next one being written."""
    settings = [
        "model=v7",
        *(f"model.{name}={value}" for name, value in small_size("v7").items()),
        f"training.max_iters={iterations}",
        "training.eval_interval=50",
        "training.eval_iters=5",
        "training.batch_size=8",
        "checkpoint.interval=10",
        "checkpoint.min_seconds=0",
        "device=cpu",
    ]
    whole = whole_run(tmp_path / "whole", *settings)
    place, arguments, codes, draw = tmp_path / "stopped", settings, [], random.Random(0)
    place.mkdir()
    for sent in signals:
        before, process = _newest(place), start(*arguments, cwd=place)
        while process.is_running and _newest(place) == before:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(sent)
        code, err = finish(process)
        assert code in (0, EXIT_CODES[sent], -sent), err  # -sent: before or after the training
        assert code <= 0 or is_one_line(err), err
        arguments = [f"resume={runs_in(place)[0]}"]
        codes.append(code)
    assert any(codes)  # else it was quicker than every signal
    code, err = finish(start(*arguments, cwd=place))
    assert (code, differences(whole, *runs_in(place))) == (0, []), err


def _newest(place: Path) -> int:
    return max((iteration for run in runs_in(place) for iteration in RunFolder(run).checkpoints()), default=0)
