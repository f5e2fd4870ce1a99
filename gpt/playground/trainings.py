"""Trainings that the page starts: train.py in processes of their own, one after the other, as ordinary runs."""

import contextlib
import hashlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from gpt.base.errors import RequestError, UserError, printable
from gpt.base.files import write_atomically
from gpt.base.installation import CONF
from gpt.base.ladder import rank
from gpt.cli.requests import of_python
from gpt.playground.describing import curve_of
from gpt.reports.unfinished import unfinished
from gpt.runs.finding import unfinished_runs
from gpt.runs.folder import RunFolder

State = Literal["queued", "training", "paused", "failed", "finished"]

_MOST = 8  # that wait or train
_SILENT = 120.0  # seconds after which a run that another process trains counts as ended: it logs more often
_SHOWN = 20  # runs of other processes
_GRACE = 20.0  # seconds for a checkpoint when the server stops
# What the page may set; no key that names a path, and no interpolation, which could read the environment.
_ALLOWED = re.compile(
    r"(model|optimizer|schedule)=\w+|(model|optimizer|schedule|training|checkpoint)\.[a-z]\w*=[^$]*"
    r"|(seed|name|compile|dtype)=[^$]*"
)
_ENDED: dict[str, State] = {"stopped": "paused", "unfinished": "paused", "failed": "failed", "diverged": "failed"}


class FullError(UserError):
    """Too many trainings."""


@dataclass
class Training:
    """A run that this server trains, or is going to train."""

    run: RunFolder
    stage: str
    arguments: list[str]
    state: State = "queued"
    process: subprocess.Popen[str] | None = None
    failure: str = ""
    wanted: State = "training"  # "paused" once somebody has asked for that

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.run.path.name


@dataclass
class Trainings:
    """The trainings below one folder of runs. Its methods may be called from several threads."""

    root: Path
    data_dir: Path
    _own: dict[str, Training] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @staticmethod
    def stages() -> list[str]:
        """The stages of conf/model that continue a text, in their order."""
        return sorted((path.stem for path in (CONF / "model").glob("*.yaml") if path.stem != "transformer"), key=rank)

    def start(self, stage: str, settings: str, text: str | None) -> str:
        """Queue a training of a stage with settings as on the command line, on a text or on the stage's own corpus.

        Returns its id. Raises RequestError, in the words of the command line, and FullError.
        """
        overrides = [f"model={stage}", *_words(settings)]
        with self._lock:
            if sum(training.state in ("queued", "training") for training in self._own.values()) >= _MOST:
                raise FullError(f"{_MOST} trainings are waiting already: stop one of them, or wait")
            if text is not None:
                overrides += ["data=text", f"data.path={self._saved(text)}"]
            config, _ = of_python(overrides)
            now = datetime.now()
            name = f"{now:%H-%M-%S}_{config.stage}_seed{config.seed}"
            folder = self.root / f"{now:%Y-%m-%d}"
            path = next(path for path in _numbered(folder / name) if not path.exists() and path.name not in self._own)
            training = Training(RunFolder(path), config.stage, [*overrides, f"hydra.run.dir={path}"])
            self._own[training.id] = training
            self._next()
            return training.id

    def pause(self, id: str) -> None:
        """Save a checkpoint and stop; a training that waits does not begin. Raises RequestError for an unknown one."""
        with self._lock:
            training = self._known(id)
            training.wanted = "paused"
            if training.process is not None:
                training.process.send_signal(signal.SIGTERM)
            elif training.state == "queued":
                training.state = "paused"

    def resume(self, id: str) -> None:
        """Queue a training that was paused, by this server or an earlier one. Raises RequestError, FullError."""
        with self._lock:
            training = self._own.get(id) or self._found(id)
            if training.process is not None or training.state == "queued":
                return
            started = training.run.is_started()
            training.arguments = [f"resume={training.run.path}"] if started else training.arguments
            training.state, training.wanted, training.failure = "queued", "training", ""
            self._own[id] = training
            self._next()

    def listed(self) -> list[dict[str, Any]]:
        """All of them and those of other processes, as the page shows them, the newest first."""
        with self._lock:
            own = list(self._own.values())
        found = [_described(training) for training in own]
        paths = {training.run.path for training in own}
        others = [run for run in unfinished_runs(self.root) if run.path not in paths][-_SHOWN:]
        for run in others:
            with contextlib.suppress(UserError):  # it is being written, or damaged
                found.append(_described(Training(run, run.config().stage, [], _state(run))) | {"is_own": False})
        return sorted(found, key=lambda row: str(row["folder"]), reverse=True)

    def close(self) -> None:
        """Stop all, each with a checkpoint: they can be resumed."""
        with self._lock:
            processes = [training.process for training in self._own.values() if training.process is not None]
            for training in self._own.values():
                training.wanted = "paused"
            for process in processes:
                process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + _GRACE
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends - time.monotonic()))

    def _known(self, id: str) -> Training:
        if id not in self._own:
            raise RequestError("this server does not train such a run")
        return self._own[id]

    def _found(self, id: str) -> Training:
        """A run that was begun earlier."""
        for run in unfinished_runs(self.root):
            if run.path.name == id and _state(run) != "training":
                return Training(run, run.config().stage, [], "paused")
        raise RequestError("there is no such run to resume")

    def _saved(self, text: str) -> Path:
        """The file of a text; the same text has the same file."""
        content = text.encode()
        path = self.data_dir / "pasted" / f"{hashlib.sha256(content).hexdigest()[:16]}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_atomically(path, content)
        return path.absolute()

    def _next(self) -> None:
        """Begin the first training that waits, unless one is going on."""
        if any(training.process is not None for training in self._own.values()):
            return
        waiting = next((training for training in self._own.values() if training.state == "queued"), None)
        if waiting is None:
            return
        command = [sys.executable, "-c", "from gpt.__main__ import train; train()", *waiting.arguments]
        waiting.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,  # Ctrl-C is the server's, which then stops it
        )  # fmt: skip
        waiting.state = "training"
        threading.Thread(target=self._wait, args=(waiting, waiting.process), daemon=True).start()

    def _wait(self, training: Training, process: subprocess.Popen[str]) -> None:
        """Until it ends; then it is the next one's turn."""
        _, errors = process.communicate()
        lines = [line for line in errors.splitlines() if line.strip()]
        with self._lock:
            training.process = None
            if training.run.is_finished():
                training.state = "finished"
            elif training.wanted == "paused":
                training.state = "paused"
            else:
                training.state = "failed"
                training.failure = printable(lines[-1].removeprefix("error: ")) if lines else "it was killed"
            self._next()


def _words(settings: str) -> list[str]:
    """The settings, if the page may set them. Raises RequestError."""
    try:
        words = shlex.split(settings)
    except ValueError as error:
        raise RequestError(f"the settings cannot be read: {error}") from None
    for word in words:
        if not _ALLOWED.fullmatch(word):
            raise RequestError(f"{printable(word)!r:.80} cannot be set here: use the command line")
    return words


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, 1000):
        yield path.with_name(f"{path.name}_{number}")


def _state(run: RunFolder) -> State:
    """Of a run that another process trains or trained."""
    times = [path.stat().st_mtime for name in ("train.log", "metrics.jsonl") if (path := run.path / name).exists()]
    reason = unfinished(run, {}).reason
    if reason == "unfinished" and times and time.time() - max(times) < _SILENT:
        return "training"
    return _ENDED.get(reason, "failed")


def _described(training: Training) -> dict[str, Any]:
    run = training.run
    described = {
        "id": training.id, "stage": training.stage, "state": training.state, "failure": training.failure,
        "folder": printable(str(run.path)), "is_own": True, "iteration": 0, "iterations": None, "curve": [],
        "sample": "", "documented": None,
    }  # fmt: skip
    with contextlib.suppress(UserError, OSError):  # it has not begun to write, or its folder was removed
        config = run.config()
        rows = run.evaluations() if (run.path / "metrics.jsonl").exists() else []
        reached = [row.iteration for row in rows[-1:]] + [step.iteration for step in (run.steps()[-1:] if rows else [])]
        described |= {
            "iteration": max(reached, default=0),
            "iterations": config.training.max_iters, "documented": run.documented().val, "seed": config.seed,
            "curve": curve_of(rows), "sample": next((row.sample for row in reversed(rows) if row.sample), ""),
        }  # fmt: skip
    return described
