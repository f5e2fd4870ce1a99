"""The run folder: everything a run leaves. It is data; nothing in it is ever unpickled or executed.

config.yaml        the resolved configuration
tokenizer.json     the vocabulary, and the digest of the corpus it is from
metrics.jsonl      one line per evaluation
last.safetensors   the final weights; best: those of the lowest estimated validation loss; averaged: if configured
summary.json       the results; it exists if and only if the run has finished
checkpoints/       what a run is resumed from (gpt/runs/checkpoints.py)
loss.png, sample.txt, train.log

Every file but the last three carries a checksum of its content, which is verified whenever it is read.
"""

import contextlib
import hashlib
import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from gpt.config import TrainConfig
from gpt.console import OneLine
from gpt.errors import RequestError, UserError
from gpt.files import checked_file, parsing, read_text_file, seal, write_atomically
from gpt.runs.records import AnyRecord, Evaluation, Summary, Vocabulary, parse_record

# The loader makes plain values only. Its running time is quadratic in the nesting depth, hence the C version and a size
# limit.
_LARGEST_CONFIG = 2**14  # bytes
_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CONFIG_CHECKSUM = "# sha256 of all above: "

log = logging.getLogger(__name__)


class RunFolder:
    """One run on disk. Reading raises UserError where a file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """A new folder at `path`, or at `path`_2 and so on if that is taken: two runs never share one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            candidate = path if number == 1 else path.with_name(f"{path.name}_{number}")
            try:
                candidate.mkdir()
            except FileExistsError:
                number += 1
            else:
                return cls(candidate)

    @classmethod
    def create_at(cls, path: Path) -> "RunFolder":
        """The folder at `path` itself, created if it does not exist. Raises RequestError if it holds a run."""
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        if run.is_started():
            raise RequestError(f"{path} already holds a run: resume=auto continues it")
        return run

    @contextlib.contextmanager
    def logging(self) -> Iterator[Callable[[], None]]:
        """Collect what the package logs, and write it to train.log from the moment the yielded function is called."""
        handler, logger = logging.handlers.MemoryHandler(capacity=1), logging.getLogger("gpt")

        def start() -> None:
            file = logging.FileHandler(self._own_file("train.log"), encoding="utf-8", errors="backslashreplace")
            file.setFormatter(OneLine("%(asctime)s %(message)s"))
            handler.setTarget(file)
            handler.flush()

        logger.addHandler(handler)
        try:
            yield start
        except BaseException as error:
            handler.handle(logging.makeLogRecord({"msg": f"ended by {type(error).__name__}: {error}"}))
            raise
        finally:
            logger.removeHandler(handler)
            if handler.target is not None:
                with contextlib.suppress(OSError):  # a full disk
                    handler.target.close()
            handler.close()

    def _own_file(self, name: str) -> Path:
        """A file to open for writing. Raises UserError if it is not a regular file, which could lead out of the folder.

        A hard link to a file elsewhere is replaced by a copy.
        """
        path = self.path / name
        if os.path.lexists(path):
            checked_file(path, sys.maxsize)
            if path.stat().st_nlink > 1:
                write_atomically(path, path.read_bytes())
        return path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other writers; the lock of a process that died is released.

        Raises RequestError if another process holds it.
        """
        lock = FileLock(self._own_file(".lock"), blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise RequestError(f"another process is writing {self.path}") from None
        try:
            yield
        finally:
            lock.release()

    def is_started(self) -> bool:
        """Whether it holds a configuration and a vocabulary, which is enough to resume a run."""
        return all((self.path / name).exists() for name in ("config.yaml", "tokenizer.json"))

    def is_finished(self) -> bool:
        """Whether it reached its last iteration and was summarised."""
        return (self.path / "summary.json").exists()

    def weights(self, which: str) -> Path:
        """The file of the run's best, last or averaged weights."""
        return self.path / f"{which}.safetensors"

    def write_config(self, config: TrainConfig) -> None:
        """Save the resolved configuration."""
        content = yaml.safe_dump(config.content(), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", f"{content}{_CONFIG_CHECKSUM}{_digest(content)}\n")

    def config(self) -> TrainConfig:
        """The run's configuration."""
        path = self.path / "config.yaml"
        content, found, checksum = read_text_file(path, largest=_LARGEST_CONFIG).rpartition(_CONFIG_CHECKSUM)
        if not (found and re.fullmatch(r"[0-9a-f]{64}\s*", checksum)):
            raise UserError(f"{path} was edited: its last line has to be {_CONFIG_CHECKSUM!r} and the checksum")
        if checksum.strip() != _digest(content):
            raise UserError(f"{path} is damaged: its last line is not the checksum of all above")
        with parsing(path):
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Yaml)):
                raise UserError(f"{path} is damaged: a run writes no YAML aliases")
            config = TrainConfig.model_validate(yaml.load(content, _Yaml))
            json.dumps(config.content(), ensure_ascii=False).encode()  # unpaired surrogates could not be printed
            return config

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Save the vocabulary that the tokenizer is built from."""
        write_atomically(self.path / "tokenizer.json", seal(vocabulary.model_dump(), indent=2) + "\n")

    def vocabulary(self) -> Vocabulary:
        """The vocabulary that the run's tokenizer is built from."""
        return self._record("tokenizer.json", Vocabulary)

    def write_metrics(self, evaluations: list[Evaluation]) -> None:
        """Save the evaluations so far, replacing the file."""
        lines = [seal(evaluation.model_dump()) + "\n" for evaluation in evaluations]
        write_atomically(self.path / "metrics.jsonl", "".join(lines))

    def metrics(self) -> list[Evaluation]:
        """The run's evaluations in order. Only `summary` notices a file that was truncated between two lines."""
        path = self.path / "metrics.jsonl"
        lines = read_text_file(path).splitlines()
        if not lines:
            raise UserError(f"{path} is damaged: it is empty")
        return [parse_record(path, line, Evaluation) for line in lines]

    def write_summary(self, summary: Summary) -> None:
        """Save the results, which marks the run as finished."""
        content = seal(summary.model_dump(mode="json"), indent=2)
        write_atomically(self.path / "summary.json", content + "\n")

    def summary(self) -> Summary:
        """The results of a finished run."""
        summary = self._record("summary.json", Summary)
        if [line.iteration for line in self.metrics()][-1:] != [summary.iterations]:
            raise UserError(f"{self.path / 'metrics.jsonl'} is damaged: its last line is not the run's last evaluation")
        return summary

    def reopen(self, *, keep_average: bool) -> None:
        """Prepare the folder for resuming: remove the summary, and temporary files left by a killed process."""
        for path in self.path.glob(".*"):
            if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) and not path.is_dir():
                path.unlink()
        (self.path / "summary.json").unlink(missing_ok=True)
        if not keep_average:
            self.weights("averaged").unlink(missing_ok=True)

    def _record(self, name: str, record: type[AnyRecord]) -> AnyRecord:
        return parse_record(self.path / name, read_text_file(self.path / name), record)


def chosen_run(path: str | None, root: str, stage: str | None = None) -> RunFolder:
    """The run in the folder `path`, or if that is None the newest finished one below `root`, of any stage or of one.

    Raises RequestError if there is none.
    """
    if path is None:
        return finished_runs(Path(root), stage)[-1][0]
    run = RunFolder(Path(path))
    if stage is not None and run.config().stage != stage:
        raise RequestError(
            f"{run.path} is a run of {run.config().stage}, not of {stage}: give run= or model=, not both"
        )
    return run


def finished_runs(root: Path, stage: str | None = None) -> list[tuple[RunFolder, Summary]]:
    """All finished runs below `root`, the oldest first; a damaged one is skipped with a warning.

    Raises RequestError if there is none of this stage, or of any stage if that is None.
    """
    runs = []
    for path in root.rglob("summary.json"):
        run = RunFolder(path.parent)
        try:
            summary = run.summary()
        except UserError as error:
            log.warning(f"skipped: {error}")
        else:
            if stage in (None, summary.stage):
                runs.append((run, summary))
    if not runs:
        of_stage = "" if stage is None else f" of {stage}"
        raise RequestError(f"no finished run{of_stage} in {root}: train one with python train.py model={stage or 'v1'}")
    return sorted(runs, key=lambda item: (item[1].finished, str(item[0].path)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
