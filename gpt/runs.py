"""The run folder: all there is to know of a run. It is data; nothing in it is ever unpickled or executed.

config.yaml        everything that was asked for, resolved
tokenizer.json     the vocabulary, and which corpus it is from
metrics.jsonl      one line an evaluation
last.safetensors   the final weights; best.safetensors: those of the lowest estimated validation loss
summary.json       what came out; it is there if and only if the run was finished
checkpoints/       what a run needs to go on (gpt/checkpoint.py)
loss.png, sample.txt, train.log

Every file but the last three has a checksum of what it says, and none is believed without it.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar

import torch
import yaml
from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from gpt import models
from gpt.config import Documented, TrainConfig, explain
from gpt.errors import RequestError, UserError
from gpt.files import read_text_file, seal, unseal, write_atomically
from gpt.tokenizer import CharTokenizer

Weights = Literal["best", "last", "averaged"]

# It makes plain values only. Its time grows with the square of the nesting, hence C and a limit.
_LARGEST_CONFIG = 2**13  # bytes
_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CONFIG_CHECKSUM = "# sha256 of all above: "

if TYPE_CHECKING:
    from gpt.subwords import Subwords
AnyTokenizer: TypeAlias = "CharTokenizer | Subwords"

log = logging.getLogger(__name__)


class Record(BaseModel):
    """What is read from a run folder has to be as it was written: right types, no key too many."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


FiniteLoss = Annotated[float, Field(allow_inf_nan=False)]

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


class Evaluation(Record):
    """The estimated losses after `iteration` updates, in nats per token: a line of metrics.jsonl."""

    iteration: int
    train: FiniteLoss
    val: FiniteLoss
    learning_rate: float


class Estimated(Record):
    """Losses estimated over random batches."""

    train: FiniteLoss
    val: FiniteLoss


class Exact(Record):
    """The loss over every target of a split once."""

    val: FiniteLoss


class _Tokenizer(Record):
    vocabulary: Annotated[str, Field(min_length=1)] | list[str]  # of characters, or of subwords
    merges: list[list[str]] | None = None  # of subwords
    corpus: str  # the sha256 of the text it was made from


class Best(Record):
    """The lowest estimated validation loss, and the iteration it was seen at."""

    val: FiniteLoss
    iteration: int


class Summary(Record):
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
    tokens_per_second: float  # of training steps; evaluations and compilation are left out
    seconds: float  # the process that finished the run, evaluations included
    skipped: int  # updates left out because of numbers that were not finite
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
    def create(cls, parent: Path, name: str, *, reuse: bool = False) -> "RunFolder":
        """A new folder `name`, or `name_2` and so on where that is taken: two runs never share one.

        With `reuse`, a folder of that name in which no run was begun yet will do.
        """
        parent.mkdir(parents=True, exist_ok=True)
        if reuse:
            (parent / name).mkdir(exist_ok=True)
            return cls(parent / name)
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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that writes here; the lock of a process that died is free.

        Raises RequestError if another process holds it.
        """
        lock = FileLock(self.path / ".lock", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise RequestError(f"another process is writing {self.path}") from None
        try:
            yield
        finally:
            lock.release()

    def is_begun(self) -> bool:
        """Whether there is a configuration and a vocabulary, which is all that a run needs to go on."""
        return all((self.path / name).exists() for name in ("config.yaml", "tokenizer.json"))

    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return (self.path / "summary.json").exists()

    def write_config(self, config: TrainConfig) -> None:
        """Keep the resolved configuration."""
        content = yaml.safe_dump(
            config.model_dump(by_alias=True, exclude_unset=True, exclude={"resume"}),
            sort_keys=False,
            allow_unicode=True,
        )
        write_atomically(self.path / "config.yaml", f"{content}{_CONFIG_CHECKSUM}{_digest(content)}\n")

    def config(self) -> TrainConfig:
        """The configuration that the run was made with."""
        path = self.path / "config.yaml"
        content, _, checksum = read_text_file(path, largest=_LARGEST_CONFIG).rpartition(_CONFIG_CHECKSUM)
        if checksum.strip() != _digest(content):
            raise UserError(f"{path} is damaged: its last line is not the checksum of what is above")
        try:
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Yaml)):
                raise UserError(f"{path} is damaged: a run writes no YAML aliases")
            return TrainConfig.model_validate(yaml.load(content, _Yaml))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else "it is not YAML"
            raise UserError(f"{path} is damaged: {reason}") from None

    def write_tokenizer(self, tokenizer: AnyTokenizer, text: str) -> None:
        """Keep the vocabulary, and the hash of the text that it is from."""
        merges = None if isinstance(tokenizer, CharTokenizer) else [list(pair) for pair in tokenizer.merges]
        record = _Tokenizer(vocabulary=tokenizer.vocabulary, merges=merges, corpus=_digest(text))
        write_atomically(self.path / "tokenizer.json", seal(record.model_dump(), indent=2) + "\n")

    def tokenizer(self) -> AnyTokenizer:
        """The tokenizer that the run was trained with."""
        record = self._record("tokenizer.json", _Tokenizer)
        if isinstance(record.vocabulary, str):
            return CharTokenizer(record.vocabulary)
        from gpt.subwords import Subwords  # needs a library that texts can do without

        return Subwords(record.vocabulary, [(pair[0], pair[-1]) for pair in record.merges or []])

    def is_of(self, text: str) -> bool:
        """Whether the run was begun on this text."""
        return self._record("tokenizer.json", _Tokenizer).corpus == _digest(text)

    def write_metrics(self, evaluations: list[Evaluation]) -> None:
        """Keep the evaluations so far, in place of what was there."""
        lines = [seal(evaluation.model_dump()) + "\n" for evaluation in evaluations]
        write_atomically(self.path / "metrics.jsonl", "".join(lines))

    def metrics(self) -> list[Evaluation]:
        """The run's evaluations in order. Where the file was cut between two lines, only `summary` can tell."""
        path = self.path / "metrics.jsonl"
        lines = read_text_file(path).splitlines()
        if not lines:
            raise UserError(f"{path} is damaged: it is empty")
        return [parse_record(path, line, Evaluation) for line in lines]

    def weights(self, which: Weights) -> Path:
        """The file of the run's best or last weights."""
        return self.path / f"{which}.safetensors"

    def save_weights(self, model: nn.Module, which: Weights) -> None:
        """Keep the model's weights, in place of those of that name before."""
        tensors = model.state_dict()
        metadata = {"sha256": _digest_tensors(tensors)}
        write_atomically(self.weights(which), safetensors_torch.save(tensors, metadata))

    def load_weights(self, model: nn.Module, which: Weights) -> None:
        """Put the run's weights into a model like the one they are of."""
        model.load_state_dict(self._read_weights(which, model))

    def load_model(self, which: Weights) -> nn.Module:
        """The run's model with its weights. No memory is taken for it before the file is seen to hold as much."""
        config, vocab_size = self.config().model, len(self.tokenizer())
        with torch.device("meta"):
            plan = models.build(config.target, vocab_size=vocab_size, **config.hyperparameters())
        tensors = self._read_weights(which, plan)
        model = models.build(config.target, vocab_size=vocab_size, **config.hyperparameters())
        model.load_state_dict(tensors)
        return model

    def _read_weights(self, which: Weights, model: nn.Module) -> dict[str, Tensor]:
        path = self.weights(which)
        if not path.exists():
            raise UserError(f"{path} is missing: the run has no {which} weights")
        if not path.is_file():
            raise UserError(f"{path} is not a file")
        expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        try:
            with safe_open(path, "pt") as file:
                if {name: file.get_slice(name).get_shape() for name in file.keys()} != expected:  # noqa: SIM118
                    raise UserError(f"{path} is damaged or belongs to another model: its tensors have other shapes")
                tensors = {name: file.get_tensor(name) for name in expected}
                checksum = (file.metadata() or {}).get("sha256")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        except SafetensorError as error:
            raise UserError(f"{path} is damaged: {str(error).splitlines()[-1].strip()}") from None
        if checksum != _digest_tensors(tensors):
            raise UserError(f"{path} is damaged: its checksum is not that of its weights")
        return tensors

    def write_summary(self, summary: Summary) -> None:
        """Declare the run finished."""
        content = seal(summary.model_dump(mode="json"), indent=2)
        write_atomically(self.path / "summary.json", content + "\n")

    def summary(self) -> Summary:
        """What came out of a finished run."""
        summary = self._record("summary.json", Summary)
        if [line.iteration for line in self.metrics()][-1:] != [summary.iterations]:
            raise UserError(f"{self.path / 'metrics.jsonl'} is damaged: its last line is not the run's last evaluation")
        return summary

    def unfinish(self) -> None:
        """Take back that the run is finished, because it goes on."""
        (self.path / "summary.json").unlink(missing_ok=True)

    def _record(self, name: str, record: type[_AnyRecord]) -> _AnyRecord:
        return parse_record(self.path / name, read_text_file(self.path / name), record)


def parse_record(path: Path, content: str, record: type[_AnyRecord]) -> _AnyRecord:
    """The record that was sealed as `content` of `path`. Raises UserError if it is not as it was written."""
    try:
        return record.model_validate_json(json.dumps(unseal(content, path)))
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {explain(error)}") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_tensors(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def chosen_run(path: str | None, root: str) -> RunFolder:
    """The run in the folder `path`, or if that is None the newest finished one below `root`."""
    return RunFolder(Path(path)) if path is not None else finished_runs(Path(root))[-1][0]


def finished_runs(root: Path) -> list[tuple[RunFolder, Summary]]:
    """All finished runs below `root`, the oldest first; a damaged one is named in the log and left out.

    Raises RequestError if there is none.
    """
    runs = []
    for path in root.rglob("summary.json"):
        run = RunFolder(path.parent)
        try:
            runs.append((run, run.summary()))
        except UserError as error:
            log.warning(f"left out: {error}")
    if not runs:
        raise RequestError(f"no finished run in {root}: train a stage first, as in python train.py model=v1")
    return sorted(runs, key=lambda item: (item[1].finished, str(item[0].path)))
