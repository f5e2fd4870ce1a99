"""The run folder: everything a run saves. It is data; nothing in it is ever unpickled or executed.

`FILES` lists its files: plain JSON, YAML and safetensors. The configuration and each record state their format, so that
a later release can convert them.
"""

import contextlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import BaseModel

from gpt.base.console import OneLine
from gpt.base.errors import Ending, UserError
from gpt.base.files import (
    damaged_as_user_error,
    is_temporary,
    read_last_line,
    read_lines,
    read_text_file,
    write_atomically,
)
from gpt.config.schema import Documented, Saved, TrainConfig
from gpt.data.vocabulary import Vocabulary
from gpt.runs import formats
from gpt.runs.locking import FolderLock
from gpt.runs.records import AnyRecord, RecordedCommand, RunRecord, Summary, now, read_record
from gpt.training.state import Evaluation, State, Step

if TYPE_CHECKING:
    from gpt.data.tokenizer import TextTokenizer


class File(NamedTuple):
    """A file or a folder that a run writes."""

    name: str
    what: str
    when: str


FILES = [
    File("run.json", "its name, tags, parent and commands, and why it is not training", "at first and at each change"),
    File("config.yaml", "the resolved configuration", "at the start"),
    File("tokenizer.json", "the vocabulary, and the digest of the corpus", "at the start"),
    File("train.log", "the log", "while it trains"),
    File("metrics.jsonl", "one line per evaluation, and one every `log_interval` iterations", "while it trains"),
    File("checkpoints", "what a run is resumed from", "while it trains"),
    File("snapshots", "the weights at moments of the training", "while it trains, with checkpoint.snapshots="),
    File("best.safetensors", "the weights of the lowest estimated validation loss", "after an evaluation"),
    File("averaged.safetensors", "the average of weights", "at the end, with training.ema= or average_last="),
    File("last.safetensors", "the final weights", "at the end"),
    File("sample.txt", "a sample", "at the end"),
    File("loss.png", "the loss curve", "at the end"),
    File("summary.json", "the results; it exists if the run has finished, and only then", "at the end"),
    File("metrics.csv", "the metrics as a table", "with logger=csv"),
    File("tensorboard", "event files", "with logger=tensorboard"),
    File("operators.txt", "the time of each operator", "with debug=profile"),
    File("trace.json.gz", "what the processor and the GPU did when", "with debug=profile"),
]

# killed: it ended without recording why, as in a crash of the machine
RunStateName = Literal["training", "finished", "killed"] | Ending

log = logging.getLogger(__name__)


class RunFolder:
    """One run on disk. Reading raises UserError where a file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FolderLock(path)

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """Write the package's log to train.log, and an error that ends the run to run.json."""
        logger = logging.getLogger("gpt")
        file = logging.FileHandler(self.path / "train.log", encoding="utf-8", errors="backslashreplace")
        file.setFormatter(OneLine("%(asctime)s %(message)s"))
        logger.addHandler(file)
        try:
            yield
        except BaseException as error:
            file.handle(logging.makeLogRecord({"msg": f"ended by {type(error).__name__}: {error}"}))
            if self.is_started() and not self.is_finished():
                with contextlib.suppress(OSError, UserError):  # a full disk, a damaged record
                    ending = getattr(error, "ending", "failed") if isinstance(error, Exception) else "paused"
                    self.update(ending=ending)
            raise
        finally:
            logger.removeHandler(file)
            with contextlib.suppress(OSError):  # a full disk
                file.close()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock the folder. Raises UnavailableError if another process holds the lock."""
        return self.lock.held()

    def write(self, name: str, content: str | bytes | list[bytes | memoryview]) -> None:
        """Write a file atomically."""
        write_atomically(self.path / name, content)

    def is_started(self) -> bool:
        """Whether it holds a configuration and a vocabulary: enough to resume the run."""
        return holds_run(self.path) and (self.path / "tokenizer.json").exists()

    def is_finished(self) -> bool:
        """Whether it reached its last iteration and was summarised."""
        return (self.path / "summary.json").exists()

    def record(self) -> RunRecord:
        """The run's record, whose fields may change."""
        return self._record("run.json", RunRecord)

    def create_record(self) -> None:
        """Write the record of a run that is about to start: its folder can still be taken over."""
        self._write_record("run.json", RunRecord(ending="starting"))

    def update(self, **changes: Any) -> None:
        """Change fields of the record."""
        self._write_record("run.json", self.record().model_copy(update=changes))

    def add_command(self, command: str, iteration: int) -> None:
        """Record a command line that started or resumed the run."""
        new = RecordedCommand(iteration=iteration, command=command, started=now())
        self.update(commands=[*self.record().commands, new])

    def weights(self, which: Saved | int) -> Path:
        """The file of the run's best, last or averaged weights, or of the snapshot after this many iterations."""
        return self.path / (f"snapshots/{which:08d}.safetensors" if isinstance(which, int) else f"{which}.safetensors")

    def snapshots(self) -> list[int]:
        """The iterations after which the run kept its weights, in order, whether or not the files are intact."""
        return self._iterations("snapshots", ".safetensors")

    def checkpoint(self, iteration: int) -> Path:
        """The folder of the checkpoint at this iteration."""
        return self.path / "checkpoints" / f"{iteration:08d}"

    def checkpoints(self) -> list[int]:
        """The iterations of its checkpoints, in order, whether or not they are intact."""
        return self._iterations("checkpoints")

    def _iterations(self, name: str, suffix: str = "") -> list[int]:
        names = (path.name.removesuffix(suffix) for path in (self.path / name).glob(f"*{suffix}"))
        return sorted(int(name) for name in names if re.fullmatch("[0-9]{8}|[1-9][0-9]{8,17}", name))

    def write_config(self, config: TrainConfig) -> None:
        """Save the resolved configuration, and its name and tags as the run's."""
        self.write("config.yaml", formats.to_yaml(config))
        self.update(name=config.name, tags=config.tags)

    def config(self) -> TrainConfig:
        """The run's configuration, with the name and the tags that it has now."""
        path = self.path / "config.yaml"
        config = formats.from_yaml(read_text_file(path), path)
        return config.model_copy(update=self._labels())

    def _labels(self) -> dict[str, Any]:
        record = self.record()
        return {"name": record.name, "tags": record.tags}

    def documented(self) -> Documented:
        """The losses documented for its stage; none if they are per another kind of token."""
        documented, kind = self.config().documented, self.vocabulary().kind
        is_alike = kind in ("characters", "sentence_subwords")
        return documented if is_alike else Documented(train=None, val=None, kind=None)

    def tracking_id(self) -> str:
        """The run's id for trackers; it survives moving or renaming the folder."""
        if (found := self.record().tracker) is None:
            found = secrets.token_hex(4)
            self.update(tracker=found)
        return found

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Save the vocabulary that the tokenizer is built from."""
        self._write_record("tokenizer.json", vocabulary)

    def vocabulary(self) -> Vocabulary:
        """The vocabulary that the run's tokenizer is built from."""
        return self._record("tokenizer.json", Vocabulary)

    @property
    def tokenizer(self) -> "TextTokenizer":
        """The tokenizer of a run that continues a text. Raises UserError for any other run."""
        from gpt.data import tokenizers  # this module is read without torch, too

        return tokenizers.restored(self.vocabulary())

    def write_metrics(self, state: State) -> None:
        """Save the evaluations and recorded steps so far, a line each, replacing the file."""
        self.write("metrics.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in state.rows()))

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
        path = self.path / "metrics.jsonl"
        with damaged_as_user_error(path):
            rows = [json.loads(line) for line in read_lines(path)]
            return {int(row["iteration"]): float(row["seconds"]) for row in rows if "seconds" in row}

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
        """Record that the run trains, and remove temporary files left by a killed process."""
        self.remove_temporary_files()
        (self.path / "summary.json").unlink(missing_ok=True)
        self.update(ending=None)

    def _record(self, name: str, record: type[AnyRecord]) -> AnyRecord:
        return read_record(self.path / name, record)

    def _write_record(self, name: str, record: BaseModel) -> None:
        self.write(name, formats.to_json(record.model_dump(mode="json")))


@dataclass(frozen=True)
class RunState:
    """The state of a run at this moment. Before changing the folder, ask again under its lock."""

    name: RunStateName
    iteration: int  # the last that was evaluated, recorded or saved
    planned: int  # iterations

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The state of a run that has started. Raises UserError if a file that says so is damaged."""
        planned, reached = run.config().training.max_iters, [0, *run.checkpoints()]
        if os.path.lexists(run.path / "metrics.jsonl"):
            reached.append(run.last_recorded().iteration)
        return cls(_name(run), max(reached), max(planned, *reached))  # with a budget of seconds, the plan is a guess

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
    if run.is_finished():  # It may have finished between the two checks.
        return "finished"
    ending = run.record().ending
    return "killed" if ending is None or ending == "starting" else ending


def _rows(path: Path, lines: Iterable[str]) -> Iterator[Step | Evaluation]:
    for line in lines:
        with damaged_as_user_error(path):
            row = json.loads(line)
            found = Evaluation.of_row(row) if "val" in row else Step.of_row(row)
        yield found


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (path / "config.yaml").is_file()


def is_temporary_of_run(name: str) -> bool:
    """Whether this is the temporary name of a file or folder that a run writes."""
    return is_temporary(name) and name[1:].rpartition(".")[0] in {file.name for file in FILES}
