"""Signals at random moments, to runs and to sweeps."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gpt.runs.folder import RunFolder
from tests.faults.trials import (
    STAGES,
    check,
    command,
    differences,
    finish,
    one_line,
    repeated,
    runs_in,
    short,
    start,
    whole_run,
)


@repeated(2, 4, 150)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(count: int, tmp_path: Path) -> None:
    """Up to four times a run: one that hears the signal saves and says one line."""
    iterations, most = (60, 1) if count == 2 else (400, 4)
    settings = [*short(iterations), "training.eval_iters=20"]
    stages = [*STAGES][:count]
    wholes = {stage: whole_run(tmp_path / stage, *STAGES[stage], *settings) for stage in stages}

    def trial(number: int, place: Path) -> Iterator[str]:
        draw = random.Random(number)
        stage = draw.choice(stages)
        whole, seconds = wholes[stage]
        arguments = [*STAGES[stage], *settings]
        for _ in range(draw.randint(1, most)):
            process = start(*arguments, cwd=place)
            time.sleep(draw.uniform(0.1, 1.2) * seconds)
            sent = draw.choice([signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
            process.send_signal(sent)
            code, _, err = finish(process)
            if not (runs := runs_in(place)):  # before anything of ours was there to listen
                yield from [err[-300:]] if "Traceback" in err and sent != signal.SIGINT else []
                continue
            if sent != signal.SIGKILL and code != 0 and not RunFolder(runs[0]).is_finished():
                yield from one_line(code, err, 130 if sent == signal.SIGINT else 143)
            arguments = [f"resume={runs[0]}"]
        code, _, err = finish(start(*arguments, cwd=place))
        yield from [err[-300:]] if code else differences(whole, *runs_in(place))

    check(trial, count, tmp_path)


@repeated(0, 2, 40)
def test_a_stopped_sweep_finishes_each_run_once_and_as_if_unbroken(count: int, tmp_path: Path) -> None:
    """One after the other or side by side; all of its processes are stopped, or the first."""
    settings = ["-m", *short(100), "hydra.sweep.dir=sweep", "resume=auto"]

    def sweep(place: Path, *arguments: str) -> subprocess.Popen:
        python = [sys.executable, *command(*settings, *arguments, cwd=place)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(python, cwd=place, start_new_session=True, **quiet)

    whole = tmp_path / "whole"
    whole.mkdir()
    started = time.perf_counter()
    assert sweep(whole, "model=v1,v5", "seed=1,2").wait() == 0
    seconds = time.perf_counter() - started

    def trial(number: int, place: Path) -> Iterator[str]:
        draw = random.Random(number)
        launcher = draw.choice([[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
        first = ["model=v1,v5", "seed=1,2", *launcher]
        for _ in range(draw.randint(1, 4)):
            process = sweep(place, *first)
            time.sleep(draw.uniform(0.8, 1.5) * seconds)  # an idle worker that has not had a job yet stays for minutes
            sent = draw.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
            with suppress(ProcessLookupError):
                draw.choice([os.killpg, os.kill])(process.pid, sent)
            process.wait(timeout=120)
            deadline = time.perf_counter() + 45  # a worker has 30 s to save, which a busy machine may need
            while (left := _processes_of(process.pid)) and time.perf_counter() < deadline:
                time.sleep(0.2)
            yield from [f"signal {sent}: {len(left)} processes are left"] if left else []
        yield from ["it does not finish"] if sweep(place, *first).wait(timeout=600) else []
        yield from (
            ["other runs"] if [run.name for run in runs_in(place)] != [run.name for run in runs_in(whole)] else []
        )
        for one, other in zip(runs_in(whole), runs_in(place), strict=False):
            yield from (f"{one.name}: {what}" for what in differences(one, other))

    check(trial, count, tmp_path)


def _processes_of(session: int) -> list[int]:
    """The processes of a session that are not zombies."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(status.parent.name))
    return found
