"""Trainings that the page starts: train.py in processes of their own, one after the other, as ordinary runs."""

import contextlib
import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from gpt.base.errors import RequestError, UserError, printable
from gpt.base.files import write_atomically
from gpt.base.installation import CONF
from gpt.base.ladder import rank
from gpt.base.stopping import Stopped
from gpt.config.composing import compose
from gpt.config.documented import differing
from gpt.config.reading import read
from gpt.playground.describe import curve_of, documented_of
from gpt.playground.run_list import id_of
from gpt.reports.listing import corpus_name
from gpt.runs.finding import started_runs
from gpt.runs.folder import RunFolder, RunState, RunStateName

_SHOWN = 20  # runs of other processes
# The settings that the page may send: no key that names a path, and no interpolation, which could read the environment.
_ALLOWED = re.compile(
    r"(model|optimizer|schedule)=\w+|(model|optimizer|schedule|training|checkpoint)\.[a-z]\w*=[^$]*"
    r"|(seed|name|compile|dtype)=[^$]*"
)
_STOPPED = Stopped(signal.SIGTERM).exit_code


@dataclass
class Training:
    """A run that this server trains or will train, or that another process started."""

    run: RunFolder
    stage: str
    arguments: list[str] = field(default_factory=list)
    is_waiting: bool = False
    process: subprocess.Popen[str] | None = None
    is_stopping: bool = False  # its process was asked to end
    failure: str = ""

    @property
    def id(self) -> str:
        """The id of its folder."""
        return id_of(self.run)

    @property
    def state(self) -> RunStateName | Literal["queued"]:
        """The state of the training. Raises UserError if the run folder is damaged."""
        if self.is_waiting:
            return "queued"
        if self.process is not None:
            return "training"
        return RunState.of(self.run).name if self.run.is_started() else "failed" if self.failure else "paused"


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

    def start(self, stage: str, settings: str, text: str | None, name: str = "text") -> str:
        """Queue a training of a stage with settings as on the command line, on a text or on the stage's own corpus.

        `name` is the text's, such as its file name. Returns the training's id. Raises RequestError, in the words of the
        command line.
        """
        overrides = [f"model={stage}", *_words(settings)]
        with self._lock:
            if text is not None:
                overrides += ["data=text", f"data.path={self._saved(text, name)}"]
            config = compose(read("train", overrides))
            path = self.root / f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{config.stage}_seed{config.seed}"
            taken = {training.run.path for training in self._own.values()}
            while path.exists() or path in taken:
                path = path.with_name(f"{path.name}_2")
            training = Training(RunFolder(path), config.stage, [*overrides, f"hydra.run.dir={path}"])
            self._queue(training)
            return training.id

    def pause(self, id: str) -> None:
        """Save a checkpoint and stop; a queued training does not begin. Raises RequestError for an unknown one."""
        with self._lock:
            if id not in self._own:
                raise RequestError("this server does not train such a run")
            training = self._own[id]
            training.is_waiting = False
            if training.process is not None and not training.is_stopping:  # A second signal would not let it save.
                training.is_stopping = True
                training.process.send_signal(signal.SIGTERM)

    def resume(self, id: str) -> None:
        """Queue a training that was paused, by this server or an earlier one. Raises RequestError."""
        with self._lock:
            training = self._own.get(id) or self._found(id)
            if training.state in ("queued", "training"):
                return
            self._queue(training)

    def listed(self) -> list[dict[str, Any]]:
        """This server's and other processes' trainings, as the page shows them, the newest first."""
        with self._lock:
            own = {training.run.path: training for training in self._own.values()}
        others = [run for run in started_runs(self.root, is_finished=False) if run.path not in own][:_SHOWN]
        found = []
        for run in [*own, *(run.path for run in others)]:
            with contextlib.suppress(UserError):  # The run is being written, or damaged.
                training = own.get(run) or Training(RunFolder(run), RunFolder(run).config().stage)
                found.append(_described(training, is_own=run in own))
        return sorted(found, key=lambda row: str(row["folder"]), reverse=True)

    def _found(self, id: str) -> Training:
        """A run that was begun earlier."""
        for run in started_runs(self.root, is_finished=False):
            if id_of(run) == id:
                return Training(run, run.config().stage)
        raise RequestError("there is no such run to resume")

    def _saved(self, text: str, name: str) -> Path:
        """The file of a text; an equal text of the same name has the same file."""
        content = text.encode()
        called = "_".join(re.findall(r"\w+", Path(name).stem))[:40] or "text"
        digest = hashlib.sha256(content).hexdigest()[:8]
        path = self.data_dir / "pasted" / f"{called}-{digest}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_atomically(path, content)
        return path.absolute()

    def _queue(self, training: Training) -> None:
        training.is_waiting, training.failure = True, ""
        self._own.pop(training.id, None)  # It goes to the end of the queue.
        self._own[training.id] = training
        self._next()

    def _next(self) -> None:
        """Begin the first waiting training, unless another is running."""
        if any(training.process is not None for training in self._own.values()):
            return
        waiting = next((training for training in self._own.values() if training.is_waiting), None)
        if waiting is None:
            return
        arguments = [f"resume={waiting.run.path}"] if waiting.run.is_started() else waiting.arguments
        # It ends with this server, even if that is killed.
        program = (
            "from gpt.__main__ import main\nfrom gpt.base.stopping import following\n"
            f"with following({os.getpid()}):\n    main('train')"
        )
        command = [sys.executable, "-c", program, *arguments]
        waiting.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # On Ctrl-C, the server stops it.
        )
        waiting.is_waiting = False
        threading.Thread(target=self._wait, args=(waiting, waiting.process), daemon=True).start()

    def _wait(self, training: Training, process: subprocess.Popen[str]) -> None:
        """Wait until the training ends, then begin the next one."""
        _, errors = process.communicate()
        lines = [line for line in errors.splitlines() if line.strip()]
        with self._lock:
            training.process = None
            if process.returncode not in (0, _STOPPED) and not training.is_stopping:
                is_told = process.returncode > 0 and lines
                training.failure = printable(lines[-1].removeprefix("error: ")) if is_told else "it was killed"
            training.is_stopping = False
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


def _described(training: Training, *, is_own: bool) -> dict[str, Any]:
    run = training.run
    described = {
        "id": training.id,
        "stage": training.stage,
        "state": training.state,
        "failure": training.failure,
        "folder": printable(str(run.path)),
        "is_own": is_own,
        "iteration": 0,
        "iterations": None,
        "curve": [],
        "texts": [],
        "documented": None,
        "changed": [],
        "corpus": "",
    }
    with contextlib.suppress(UserError, OSError):  # The folder is not written yet, or was removed.
        state = RunState.of(run)
        described |= {"iteration": state.iteration, "iterations": state.planned, "seed": run.config().seed}
        rows = run.evaluations()
        texts = [{"iteration": row.iteration, "text": row.sample} for row in rows if row.sample]
        described |= {"curve": curve_of(rows), "texts": texts}
        described |= {"corpus": printable(corpus_name(run)), "documented": documented_of(run)}
        described |= {"changed": differing(run.config())}  # last: it raises for a stage that conf/ lacks
    return described
