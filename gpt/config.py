"""The schema of `conf/`: the type and range of every value that a user can set.

The values are in `conf/`. Validation is strict: a wrong type, a value out of range or an unknown key is an error,
raised as `pydantic.ValidationError`. What a choice takes (`model`, `data`, `optimizer`, `schedule`, `logger`) is
checked against the signature of what it names (gpt/choices.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gpt.choices import BatchSize, Choice, Count, CountOrZero, Fraction, Length, NonNegative, PathName

StageName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=60)]  # part of a folder's name
Seed = Annotated[int, Field(ge=0, lt=2**63)]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16"]
Weights = Literal["auto", "best", "last", "averaged"]

# How the keys of a training configuration are treated; naming a group covers all of its keys.
# Compared with the documented run, except NOT_COMPARED:
COMPARED = ("model", "training", "data", "optimizer", "schedule", "documented")
DATA_PATHS = {"data.dir", "data.path", "data.source", "data.target"}  # where a corpus is, which may be moved
NOT_COMPARED = DATA_PATHS | {"training.eval_interval", "training.grad_accumulation"}
NOT_COMPARED |= {"training.on_nonfinite", "training.log_interval"}
# May change when a run is resumed, except IDENTIFYING; all other keys identify the run:
RESUMABLE = {"training", "checkpoint", "optimizer", "schedule", "logger", "data", "target", "name", "tags"}
RESUMABLE |= {"device", "dtype", "compile", "deterministic"}
IDENTIFYING = {"data._target_", "data.vocab_size", "optimizer._target_"}
# Where two runs may differ and still be repetitions of each other, for a ranking:
NOT_GROUPED = NOT_COMPARED | {"seed", "adds", "documented", "checkpoint", "logger", "target", "name", "tags", "runs"}
NOT_GROUPED |= {"device", "dtype", "compile", "deterministic", "training.eval_iters"}
# Ignored when resume=auto looks for the run of a configuration:
NOT_SEARCHED = {"checkpoint", "logger", "target", "device", "dtype", "compile", "runs", "name", "tags"}
NOT_SEARCHED |= {"training.log_interval"}


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TrainingConfig(_Schema):
    """How a stage is trained; conf/train.yaml explains each key."""

    max_iters: Count
    batch_size: BatchSize
    grad_accumulation: Count
    learning_rate: NonNegative
    grad_clip: Annotated[float, Field(gt=0)] | None
    short_window: Length | None
    short_iters: CountOrZero
    label_smoothing: Fraction
    average_last: Annotated[float, Field(ge=0, le=1)]
    on_nonfinite: Literal["stop", "skip"]
    eval_interval: Count | Literal["epoch"]
    eval_iters: Count
    log_interval: Count | None

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.batch_size % self.grad_accumulation:
            raise ValueError(f"batch_size={self.batch_size} must be a multiple of grad_accumulation")
        return self


class CheckpointConfig(_Schema):
    """How often a checkpoint is saved, and how many are kept."""

    interval: Count
    min_seconds: NonNegative
    keep: Count


class Documented(_Schema):
    """The result that was documented for a stage, in nats per token."""

    train: NonNegative | None
    val: NonNegative | None
    kind: Literal["estimated", "mini-batch"] | None


class TrainConfig(_Schema):
    """conf/train.yaml: one training run."""

    stage: StageName
    adds: Annotated[str, Field(max_length=200)]
    model: Choice
    data: Choice
    optimizer: Choice
    schedule: Choice
    logger: dict[str, Choice]
    training: TrainingConfig
    checkpoint: CheckpointConfig
    documented: Documented
    overfit: NonNegative | None
    target: NonNegative | None
    init: PathName | None
    name: Label | None
    tags: list[Label]
    seed: Seed
    device: DeviceName
    dtype: DtypeName
    compile: bool
    deterministic: bool
    runs: PathName
    resume: PathName | None = None

    @model_validator(mode="after")
    def _stops_when_learned(self) -> Self:
        if self.overfit is not None and self.training.eval_interval == "epoch":
            raise ValueError("overfit= trains on one batch, without epochs: add training.eval_interval=50")
        return self

    def content(self) -> dict[str, Any]:
        """The configuration as plain dictionaries, as it stands in config.yaml."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude={"resume"})


class BeamConfig(_Schema):
    """The settings of beam search."""

    beam: Annotated[int, Field(ge=1, le=1000)]
    length_penalty: NonNegative


class GenerateConfig(BeamConfig):
    """conf/generate.yaml: text from a run."""

    run: PathName | None
    runs: PathName
    stage: StageName | None
    weights: Weights
    prompt: str | None
    prompt_file: PathName | None
    tokens: Count
    num_samples: Count
    temperature: NonNegative
    top_k: Count | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    seed: Seed
    device: DeviceName
    dtype: Literal["float32", "bfloat16"]


class EvaluateConfig(BeamConfig):
    """conf/evaluate.yaml: a run on its held-out data."""

    run: PathName | None
    runs: PathName
    stage: StageName | None
    weights: Weights
    split: Literal["train", "val", "test"] | None
    text: PathName | None
    as_json: Annotated[bool, Field(alias="json")]
    data: dict[str, PathName | None]
    device: DeviceName


class StudyConfig(_Schema):
    """conf/search.yaml: a search for hyperparameters."""

    n_trials: Count
    study: PathName | None
    prune: bool
    sampling_seed: Seed


class ExportConfig(_Schema):
    """conf/export.yaml: a run for other programs."""

    format: Literal["hub", "transformers", "onnx"]
    run: PathName | None
    runs: PathName
    stage: StageName | None
    weights: Weights
    out: PathName | None
    license: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=60)]


class PlayConfig(_Schema):
    """conf/play.yaml: a page on the runs."""

    runs: PathName
    run: PathName | None
    stage: StageName | None
    weights: Weights
    device: DeviceName
    host: PathName
    port: Annotated[int, Field(ge=0, lt=2**16)]
    names: list[Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=255)]]
    open: bool
    out: PathName | None
    data: dict[Literal["dir"], PathName]


class CompareConfig(_Schema):
    """conf/compare.yaml: the table of all runs."""

    runs: PathName
    stage: StageName | None
    tags: list[Label]
    metric: Literal["exact", "val", "train", "best"]
    x: Literal["iterations", "tokens", "seconds"]
    by: PathName | Annotated[list[PathName], Field(min_length=1, max_length=2)] | None
    out: PathName | None
    tolerance: NonNegative


@dataclass(frozen=True)
class Request:
    """What the command line says about a run besides its configuration."""

    parent: Path  # where the folder of a new run is created
    prefix: str  # of its name
    folder: Path | None  # the folder of a new run instead, if the user has given one
    sweep: Path | None  # the folder of the sweep that it is a job of
    swept: tuple[str, ...]  # the keys that differ between the jobs of that sweep
    given: tuple[str, ...]  # the keys that have a value on the command line
    command: str  # the command line

    def new_folder(self, config: TrainConfig) -> Path:
        """The folder of a new run of this configuration, if it is still free."""
        name = "_".join([config.stage, *([config.name] if config.name else []), f"seed{config.seed}"])
        return self.folder or self.parent / f"{self.prefix}{name}"


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The values of `after` that differ from those of `before`, as key=value; a choice shows as model=GPT."""
    old, new = flat(before), flat(after)
    return [shown(key, value) for key, value in new.items() if key not in old or old[key] != value]


def shown(key: str, value: Any) -> str:
    """key=value; for a choice the bare name: data=text for data._target_=gpt.data.corpora.text."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{key}={value}"
