"""The run folder: all there is to know of a run. It is data; nothing in it is ever unpickled or executed.

config.yaml        everything that was asked for, resolved
tokenizer.json     the vocabulary
metrics.jsonl      one line an evaluation
last.safetensors   the final weights; best.safetensors: those of the lowest estimated validation loss
summary.json       what came out; it is there if and only if the run was finished
loss.png, sample.txt, train.log
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import nn

from gpt.config import Documented, TrainConfig, explain
from gpt.errors import RequestError, UserError
from gpt.files import write_atomically
from gpt.tokenizer import CharTokenizer

Weights = Literal["best", "last"]

log = logging.getLogger(__name__)


class _Record(BaseModel):
    """What is read from a run folder has to be as it was written: right types, no key too many."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


FiniteLoss = Annotated[float, Field(allow_inf_nan=False)]

_AnyRecord = TypeVar("_AnyRecord", bound=BaseModel)


class Evaluation(_Record):
    """The estimated losses after `iteration` updates, in nats per token: a line of metrics.jsonl."""

    iteration: int
    train: FiniteLoss
    val: FiniteLoss
    learning_rate: float
    tokens_per_second: float  # of the training steps so far


class Estimated(_Record):
    """Losses estimated over random batches."""

    train: FiniteLoss
    val: FiniteLoss


class Exact(_Record):
    """The loss over every target of a split once."""

    val: FiniteLoss


class _Tokenizer(_Record):
    vocabulary: str = Field(min_length=1)


class Best(_Record):
    """The lowest estimated validation loss, and the iteration it was seen at."""

    val: FiniteLoss
    iteration: int


class Summary(_Record):
    """What came out of a run: summary.json. Losses in nats per token."""

    stage: str
    seed: int
    parameters: int
    iterations: int
    documented: Documented
    changed: list[str]  # hyperparameters, as key=value, that differ from the documented ones
    estimated: Estimated  # after the last iteration
    best: Best
    exact: Exact
    last_batch: float  # the loss on the last training mini-batch
    tokens_per_second: float  # of training steps; evaluations are left out, compilation is not
    seconds: float  # the whole run, evaluations included
    device: str
    dtype: str
    versions: dict[str, str]
    git_commit: str | None
    finished: AwareDatetime


class RunFolder:
    """One run on disk. Raises UserError where a file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        """A new folder `name`, or `name_2` and so on where that is taken: two runs never share one."""
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}_{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return cls(path)

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """Write what the package logs to train.log as well."""
        handler = logging.FileHandler(self.path / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger = logging.getLogger("gpt")
        logger.addHandler(handler)
        try:
            yield
        except BaseException as error:
            handler.handle(logging.makeLogRecord({"msg": f"ended by {type(error).__name__}: {error}"}))
            raise
        finally:
            logger.removeHandler(handler)
            handler.close()

    def write_config(self, config: TrainConfig) -> None:
        """Keep the resolved configuration."""
        content = config.model_dump(by_alias=True, exclude_unset=True)
        write_atomically(self.path / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def config(self) -> TrainConfig:
        """The configuration that the run was made with."""
        try:
            return TrainConfig.model_validate(yaml.safe_load(self._read("config.yaml")))
        except yaml.YAMLError:
            raise UserError(f"{self.path / 'config.yaml'} is damaged: it is not YAML") from None
        except ValidationError as error:
            raise UserError(f"{self.path / 'config.yaml'} is damaged: {explain(error)}") from None

    def write_tokenizer(self, tokenizer: CharTokenizer) -> None:
        """Keep the vocabulary."""
        content = {"vocabulary": tokenizer.vocabulary}
        write_atomically(self.path / "tokenizer.json", json.dumps(content, ensure_ascii=False, indent=2))

    def tokenizer(self) -> CharTokenizer:
        """The tokenizer that the run was trained with."""
        return CharTokenizer(self._parse("tokenizer.json", self._read("tokenizer.json"), _Tokenizer).vocabulary)

    def append_metrics(self, evaluation: Evaluation) -> None:
        """Add the line of one evaluation."""
        path = self.path / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(evaluation.model_dump_json() + "\n")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error

    def metrics(self) -> list[Evaluation]:
        """The run's evaluations in order."""
        return [self._parse("metrics.jsonl", line, Evaluation) for line in self._read("metrics.jsonl").splitlines()]

    def save_weights(self, model: nn.Module, which: Weights) -> None:
        """Keep the model's weights, in place of those of that name before."""
        write_atomically(self.path / f"{which}.safetensors", safetensors.save(model.state_dict()))

    def load_weights(self, model: nn.Module, which: Weights) -> None:
        """Put the run's weights into a model that was built from its configuration."""
        path = self.path / f"{which}.safetensors"
        try:
            model.load_state_dict(safetensors.load_file(path))
        except FileNotFoundError:
            raise UserError(f"{path} is missing: the run has no {which} weights") from None
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        except (SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"{path} is damaged or belongs to another model: {reason}") from None

    def write_summary(self, summary: Summary) -> None:
        """Declare the run finished."""
        write_atomically(self.path / "summary.json", summary.model_dump_json(indent=2) + "\n")

    def summary(self) -> Summary:
        """What came out of a finished run."""
        return self._parse("summary.json", self._read("summary.json"), Summary)

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.path / name} is missing: that is not the folder of a whole run") from None
        except UnicodeDecodeError:
            raise UserError(f"{self.path / name} is damaged: it is not UTF-8 text") from None

    def _parse(self, name: str, content: str, record: type[_AnyRecord]) -> _AnyRecord:
        try:
            return record.model_validate_json(content)
        except ValidationError as error:
            raise UserError(f"{self.path / name} is damaged: {explain(error)}") from None


def finished_runs(root: Path) -> list[tuple[RunFolder, Summary]]:
    """All finished runs below `root`, the oldest first; a damaged one is named in the log and left out.

    Raises RequestError if there is none.
    """
    runs = []
    for path in root.rglob("summary.json"):
        run = RunFolder(path.parent)
        try:
            run.metrics()  # whoever compares runs draws their curves
            runs.append((run, run.summary()))
        except UserError as error:
            log.warning(f"left out: {error}")
    if not runs:
        raise RequestError(f"no finished run in {root}: train a stage first, as in python train.py model=v1")
    return sorted(runs, key=lambda item: (item[1].finished, str(item[0].path)))
