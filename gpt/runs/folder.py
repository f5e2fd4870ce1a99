"""The run folder: everything a run saves. It is data; nothing in it is ever unpickled or executed.

config.yaml        the resolved configuration
commands.jsonl     the command lines that started and resumed the run
tokenizer.json     the vocabulary, and the digest of the corpus it is from
parent.json        the run whose weights it started from, if any
labels.json        its name and tags, if they were changed after its configuration was written
tracked.json       what trackers know it by, if it has any
metrics.jsonl      one line per evaluation and one every log_interval iterations; `kind` says which it is
clock.jsonl        the training time at these lines, which differs between two runs of the same configuration
last.safetensors   the final weights; best: those of the lowest estimated validation loss; averaged: if configured
snapshots/         its weights at moments of the training, if configured
summary.json       the results; it exists if and only if the run has finished
state.json         why the run is not training, if it has neither finished nor was killed
checkpoints/       what a run is resumed from (gpt/runs/checkpoints.py)
loss.png, sample.txt, train.log
metrics.csv, tensorboard/, operators.txt, trace.json.gz: of loggers

Every file except those in the last two lines states its format, so that a later release can convert it, and carries the
SHA-256 of its content, which is verified whenever it is read. A text ends with the checksum of all before it, and in a
.jsonl file each line does; a file of tensors begins with the checksum of all after it, including the iteration that it
is of. So each file, and each line while a run trains, is verified on its own. checkpoint.json repeats the checksums in
the files beside it, so that a file of another checkpoint is noticed.
"""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel

from gpt.base.console import OneLine
from gpt.base.errors import Ending, UnreadableError, UserError
from gpt.base.files import is_temporary, own_file, parsing, read_last_line, read_lines, read_text_file, write_atomically
from gpt.base.schema import Documented, Saved, TrainConfig
from gpt.data.vocabulary import Vocabulary
from gpt.runs import formats
from gpt.runs.locking import FolderLock
from gpt.runs.records import AnyRecord, Command, Ended, Labels, Parent, Summary, Tracked, now, parse_record, read_record
from gpt.training.progress import Clock, Evaluation, Progress, Step

if TYPE_CHECKING:
    from gpt.data.tokenizer import TextTokenizer

# All that a run writes; a new run is not created where one of these is.
NAMES = frozenset([
    "config.yaml", "commands.jsonl", "tokenizer.json", "parent.json", "metrics.jsonl", "clock.jsonl", "labels.json",
    "tracked.json", "state.json", "last.safetensors", "best.safetensors", "averaged.safetensors", "summary.json",
    "checkpoints", "snapshots", "loss.png", "sample.txt", "train.log", "metrics.csv", "tensorboard", "operators.txt",
    "trace.json.gz",
])  # fmt: skip

_KINDS: dict[str, type[Step | Evaluation]] = {"step": Step, "evaluation": Evaluation}  # of a line of metrics.jsonl

# killed: it ended without a word, as in a crash of the machine
RunStateName = Literal["training", "finished", "killed"] | Ending

log = logging.getLogger(__name__)


class RunFolder:
    """One run on disk. Reading raises UserError where a file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FolderLock(path)

    @contextlib.contextmanager
    def logging(self) -> Iterator[Callable[[], None]]:
        """Collect the package's log, and write it to train.log once the yielded function is called.

        From then on, an error that ends the run before it has finished is recorded in state.json as well.
        """
        handler, logger = logging.handlers.MemoryHandler(capacity=1), logging.getLogger("gpt")

        def start() -> None:
            file = logging.FileHandler(own_file(self.path / "train.log"), encoding="utf-8", errors="backslashreplace")
            file.setFormatter(OneLine("%(asctime)s %(message)s"))
            handler.setTarget(file)
            handler.flush()

        logger.addHandler(handler)
        try:
            yield start
        except BaseException as error:
            handler.handle(logging.makeLogRecord({"msg": f"ended by {type(error).__name__}: {error}"}))
            if handler.target is not None and self.is_started() and not self.is_finished():
                with contextlib.suppress(OSError, UserError):  # a full disk; a folder that was moved
                    self.write_ending(getattr(error, "ending", "failed"))
            raise
        finally:
            logger.removeHandler(handler)
            if handler.target is not None:
                with contextlib.suppress(OSError):  # a full disk
                    handler.target.close()
            handler.close()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock the folder, as `FolderLock.held` does."""
        return self.lock.held()

    def write(self, name: str, content: str | bytes | list[bytes | memoryview]) -> None:
        """Write a file atomically. Raises LostFolderError as `FolderLock.check` does."""
        write_atomically(self.path / name, content, self.lock.check)

    def is_started(self) -> bool:
        """Whether it holds a configuration and a vocabulary, which is enough to resume a run."""
        return all((self.path / name).exists() for name in ("config.yaml", "tokenizer.json"))

    def is_finished(self) -> bool:
        """Whether it reached its last iteration and was summarised."""
        return (self.path / "summary.json").exists()

    def ending(self) -> Literal["starting"] | Ending | None:
        """Why it is not training, as it said itself: half of what `RunState.of` knows."""
        is_there = os.path.lexists(self.path / "state.json")
        return self._record("state.json", Ended).state if is_there else None

    def write_ending(self, state: Literal["starting"] | Ending) -> None:
        """Record why it is not training."""
        self._write_record("state.json", Ended(state=state))

    def weights(self, which: Saved | int) -> Path:
        """The file of the run's best, last or averaged weights, or of the snapshot after this many iterations."""
        return self.path / (f"snapshots/{which:08d}.safetensors" if isinstance(which, int) else f"{which}.safetensors")

    def snapshots(self) -> list[int]:
        """The iterations after which the run kept its weights, in order, whether or not the files are intact.

        Raises UserError if their folder is a link.
        """
        return self._iterations("snapshots", ".safetensors")

    def checkpoint(self, iteration: int) -> Path:
        """The folder of the checkpoint at this iteration."""
        return self.path / "checkpoints" / f"{iteration:08d}"

    def checkpoints(self) -> list[int]:
        """The iterations of its checkpoints, likewise."""
        return self._iterations("checkpoints")

    def _iterations(self, name: str, suffix: str = "") -> list[int]:
        folder = self.path / name
        if folder.is_symlink():
            raise UserError(f"{folder} is a link: a run's {name} must be in its folder")
        names = (path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}"))
        return sorted(int(name) for name in names if re.fullmatch("[0-9]{8}|[1-9][0-9]{8,17}", name))

    def write_config(self, config: TrainConfig) -> None:
        """Save the resolved configuration, whose name and tags are the run's from now on.

        A label that was changed before, and is the same now, stays what it was in config.yaml: see `first_config`.
        """
        if before := self._labels():
            first, labels = self.first_config(), {key: getattr(config, key) for key in before}
            self.write_labels(Labels(**labels))
            unchanged = [key for key in before if before[key] == labels[key]]
            config = config.model_copy(update={key: getattr(first, key) for key in unchanged})
        self.write("config.yaml", formats.to_yaml(config))

    def config(self) -> TrainConfig:
        """The run's configuration."""
        return self.first_config().model_copy(update=self._labels())

    def first_config(self) -> TrainConfig:
        """The same with the name and tags that training commands gave, before they were changed by others."""
        path = self.path / "config.yaml"
        return formats.from_yaml(read_text_file(path, largest=formats.LARGEST_CONFIG), path)

    def write_labels(self, labels: Labels) -> None:
        """Replace the run's name and tags."""
        self._write_record("labels.json", labels)

    def _labels(self) -> dict[str, Any]:
        """The name and tags that replace those in other files; {} if they were not changed."""
        is_changed = os.path.lexists(self.path / "labels.json")
        return self._record("labels.json", Labels).model_dump() if is_changed else {}

    def documented(self) -> Documented:
        """The losses documented for its stage; none if its tokens are not those that they are per."""
        documented, kind = self.config().documented, self.vocabulary().kind
        is_alike = kind in ("characters", "sentence_subwords")
        return documented if is_alike else Documented(train=None, val=None, kind=None)

    def write_command(self, command: str, iteration: int) -> None:
        """Append a command line that started or resumed the run."""
        new = Command(iteration=iteration, command=command, started=now())
        self._write_lines("commands.jsonl", [*self.commands(), new])

    def commands(self) -> list[Command]:
        """The command lines that started and resumed the run; none if they are damaged."""
        try:
            return self._lines("commands.jsonl", Command)
        except UnreadableError:  # otherwise the new command would replace them
            raise
        except UserError:
            return []

    def write_parent(self, parent: Parent) -> None:
        """Save which run's weights this one started from."""
        self._write_record("parent.json", parent)

    def parent(self) -> Parent | None:
        """The run whose weights this one started from; None if it started from random weights."""
        return self._record("parent.json", Parent) if os.path.lexists(self.path / "parent.json") else None

    def tracking_id(self) -> str:
        """What trackers know the run by, also after its folder was moved or renamed; a copy is a run of its own."""
        place, earlier = self.path.stat(), None
        here = Tracked(
            id=secrets.token_hex(4), folder=str(self.path.resolve()), device=place.st_dev, inode=place.st_ino
        )
        if os.path.lexists(self.path / "tracked.json"):
            earlier = self._record("tracked.json", Tracked)
            here = here if earlier.is_of_copy(here) else here.model_copy(update={"id": earlier.id})
        if here != earlier:
            self._write_record("tracked.json", here)
        return here.id

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Save the vocabulary that the tokenizer is built from."""
        self._write_record("tokenizer.json", vocabulary)

    def vocabulary(self) -> Vocabulary:
        """The vocabulary that the run's tokenizer is built from."""
        return self._record("tokenizer.json", Vocabulary)

    @property
    def tokenizer(self) -> "TextTokenizer":
        """The tokenizer of a run that continues a text. Raises UserError for any other run."""
        from gpt.data import tokenizers  # a tracker's process imports this module without torch

        return tokenizers.restored(self.vocabulary())

    def write_metrics(self, progress: Progress) -> None:
        """Save the evaluations and recorded steps so far, and the clock beside them, replacing the files.

        If an iteration has both, the step comes first.
        """
        rows: list[tuple[str, Step | Evaluation]] = [("step", step) for step in progress.steps]
        rows += [("evaluation", evaluation) for evaluation in progress.evaluations]
        rows.sort(key=lambda row: row[1].iteration)
        lines = (formats.to_json({"kind": kind} | row.model_dump(mode="json")) for kind, row in rows)
        self.write("metrics.jsonl", "".join(lines))
        self._write_lines("clock.jsonl", progress.clock)

    def evaluations(self) -> list[Evaluation]:
        """The run's evaluations in order. Only `summary` detects a file that was truncated between two lines."""
        path = self.path / "metrics.jsonl"
        found = [row for row in _rows(path, read_lines(path)) if isinstance(row, Evaluation)]
        if not found:
            raise UserError(f"{path} is damaged: it is empty")
        return found

    def steps(self) -> list[Step]:
        """The run's recorded steps in order."""
        path = self.path / "metrics.jsonl"
        return [row for row in _rows(path, read_lines(path)) if isinstance(row, Step)]

    def last_recorded(self) -> Step | Evaluation:
        """The run's last evaluation or recorded step; the lines before it are not read."""
        path = self.path / "metrics.jsonl"
        return next(_rows(path, [read_last_line(path)]))

    def clock(self) -> dict[int, float]:
        """The seconds of training by iteration."""
        return {row.iteration: row.seconds for row in self._lines("clock.jsonl", Clock)}

    def write_summary(self, summary: Summary) -> None:
        """Save the results, which marks the run as finished."""
        self._write_record("summary.json", summary)

    def summary(self) -> Summary:
        """The results of a finished run. Of its metrics, only the last evaluation is read."""
        summary, path = self._record("summary.json", Summary), self.path / "metrics.jsonl"
        last = self.last_recorded()
        if not isinstance(last, Evaluation) or last.iteration != summary.iterations:
            raise UserError(f"{path} is damaged: its last line is not the run's last evaluation")
        return summary.model_copy(update=self._labels())

    def remove_temporary_files(self) -> None:
        """Remove the temporary files of a killed process."""
        for path in self.path.glob(".*"):
            if is_temporary_of_run(path.name) and not path.is_dir():
                path.unlink()

    def mark_training(self) -> None:
        """From now on, the run trains: remove how it ended, and temporary files left by a killed process."""
        self.lock.check()
        self.remove_temporary_files()
        for name in ("summary.json", "state.json"):
            (self.path / name).unlink(missing_ok=True)

    def _record(self, name: str, record: type[AnyRecord]) -> AnyRecord:
        return read_record(self.path / name, record)

    def _write_record(self, name: str, record: BaseModel) -> None:
        self.write(name, formats.to_json(record.model_dump(mode="json"), indent=2))

    def _lines(self, name: str, record: type[AnyRecord]) -> list[AnyRecord]:
        path = self.path / name
        return [parse_record(path, line, record) for line in read_lines(path)]

    def _write_lines(self, name: str, records: Iterable[BaseModel]) -> None:
        lines = (formats.to_json(record.model_dump(mode="json")) for record in records)
        self.write(name, "".join(lines))


@dataclass(frozen=True)
class RunState:
    """What a run folder says of its run at this moment. Whoever changes the folder asks again under its lock."""

    name: RunStateName
    iteration: int  # the last that was evaluated, recorded or saved
    planned: int  # iterations

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The state of a run that has started. Raises UserError if a file that says so is damaged."""
        planned, reached = run.config().training.max_iters, [0, *run.checkpoints()]
        if os.path.lexists(run.path / "metrics.jsonl"):
            reached.append(run.last_recorded().iteration)
        return cls(_name(run), max(reached), max(planned, *reached))  # with a budget of seconds, it is a guess

    def as_record(self) -> dict[str, Any]:
        """The state for programs."""
        return {"state": self.name, "iterations": self.iteration, "of": self.planned}

    def __str__(self) -> str:
        return f"{self.name} at iteration {self.iteration} of {self.planned}"


def _name(run: RunFolder) -> RunStateName:
    if run.is_finished():
        return "finished"
    if run.lock.is_taken():
        return "training"
    if run.is_finished():  # since it was asked first
        return "finished"
    ending = run.ending()
    return "killed" if ending is None or ending == "starting" else ending


def _rows(path: Path, lines: Iterable[str]) -> Iterator[Step | Evaluation]:
    for line in lines:
        with parsing(path):
            fields = formats.from_json(line, path)
            kind = fields.pop("kind", None)
            if kind not in _KINDS:
                raise UserError(f"{path} is damaged: a line of it is neither an evaluation nor a step")
            row = _KINDS[kind].model_validate_json(json.dumps(fields))
        yield row


def is_temporary_of_run(name: str) -> bool:
    """Whether it is the temporary name of something that a run writes."""
    return is_temporary(name) and name[1:].rpartition(".")[0] in NAMES
