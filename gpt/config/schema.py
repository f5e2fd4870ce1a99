"""The schema of `conf/train.yaml`: the type and range of every value that a user can set.

The values are in `conf/`. Validation is strict: a wrong type, a value out of range or an unknown key is an error,
raised as `pydantic.ValidationError`. The hyperparameters of a choice (`model`, `data`, `optimizer`, `schedule`,
`logger`, `metrics`) are checked against the signature of the class or function it names (gpt/registry.py). What a
key is about is in its `Key` annotation, or that of its group: gpt/config/keys.py looks it up.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gpt.base.durations import seconds_of
from gpt.base.losses import Saved
from gpt.base.record import MetricName
from gpt.config.choices import BatchSize, Count, CountOrZero, Fraction, Length, NonNegative, PathName, Share
from gpt.registry import Choice

StageName = Annotated[str, Field(pattern=r"^[\w.@-]+$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=60)]  # part of a folder's name
Seed = Annotated[int, Field(ge=0, lt=2**63)]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16"]
Weights = Literal["auto", Saved] | CountOrZero  # a number: those of the snapshot after this many iterations


# What a key is about, which decides all else that the program does with it:
#   setting  tells runs apart; compared with the documented run; fixed when a run is resumed; a fork takes it over
#   length   the same, but it may grow when a run is resumed, and a fork has its own
#   measure  how losses are estimated: fixed when a run is resumed, but runs that differ in it are repetitions
#   repeat   tells repetitions apart: the seed
#   rounding changes results in their last digits: fixed when a run is resumed, and otherwise aside
#   aside    has no effect on results: free when a run is resumed, as the following two are
#   place    a path on this machine, which nothing that is published names
#   label    what people call a run
#   stated   of the stage: set by model=NAME
Role = Literal["setting", "length", "measure", "repeat", "rounding", "aside", "place", "label", "stated"]


@dataclass(frozen=True)
class Key:
    """What is said of a key, or of a group for those of its keys that have no `Key` of their own."""

    role: Role
    _: KW_ONLY
    within: Mapping[str, "Key"] = field(default_factory=dict)  # of a group: exceptions among the keys of its choices
    package: str = ""  # of a group: where its choices are defined, as of their Registry


def _duration(typed: Any) -> Any:
    seconds_of(str(typed))
    return typed


Duration = Annotated[str, BeforeValidator(_duration)]
SETTING, ASIDE, PLACE = Key("setting"), Key("aside"), Key("place")
_LENGTH, _MEASURE, _STATED, _ROUNDING = Key("length"), Key("measure"), Key("stated"), Key("rounding")
_OF_TRAINING = Key("setting", package="gpt.training")
SETTING_FILES = dict.fromkeys(("experiment", "debug"), SETTING)  # groups of files that set keys
TOKENIZER_KEYS = ("tokenizer", "vocab_size")  # of a corpus: into which tokens it is split
DATA = Key("setting", package="gpt.data", within=dict.fromkeys(("path", "source", "target", "dir"), PLACE))


class Schema(BaseModel):
    """The base class of configurations: strict, immutable, and no other keys."""

    # Each is built when first used: a script needs only one, and building all of them delays --help.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class TrainingConfig(Schema):
    """How a stage is trained; conf/train.yaml explains each key."""

    max_iters: Annotated[Count, _LENGTH]
    epochs: Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, _LENGTH] = None
    seconds: Annotated[Annotated[float, Field(gt=0, le=1e9)] | Duration | None, _LENGTH] = None
    batch_size: BatchSize
    grad_accumulation: Annotated[Count, _ROUNDING]
    learning_rate: NonNegative
    grad_clip: Annotated[float, Field(gt=0, le=1e30)] | None
    windows: Literal["random", "shuffled"]
    short_window: Length | None
    short_iters: CountOrZero
    label_smoothing: Fraction
    multi_token: NonNegative
    recompute: Annotated[bool, ASIDE]
    average_last: Share
    ema: Fraction
    patience: Count | None
    on_nonfinite: Literal["stop", "skip"]
    eval_interval: Annotated[Count | Literal["epoch"], _MEASURE]
    eval_iters: Annotated[Count, _MEASURE]
    exact_tokens: Annotated[Count | None, _MEASURE]
    sample_interval: Annotated[Count | None, ASIDE]
    log_interval: Annotated[Count | None, ASIDE]

    @property
    def length(self) -> tuple[str, float]:
        """How long the run is to be, and in what."""
        if self.budget is not None:
            return "seconds", self.budget
        return ("max_iters", self.max_iters) if self.epochs is None else ("epochs", self.epochs)

    @property
    def budget(self) -> float | None:
        """The seconds of training after which it ends; None if its length is in iterations or epochs."""
        return seconds_of(self.seconds) if isinstance(self.seconds, str) else self.seconds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.seconds is not None and (self.epochs is not None or self.average_last):
            other = "epochs=" if self.epochs is not None else "average_last="
            raise ValueError(f"seconds= leaves the number of iterations open, and {other} needs one: omit one of them")
        if self.batch_size % self.grad_accumulation:
            raise ValueError(f"batch_size={self.batch_size} must be a multiple of grad_accumulation")
        if self.ema and self.average_last:
            raise ValueError("ema= and average_last= both average the weights: give only one of them")
        return self


class CheckpointConfig(Schema):
    """How often a checkpoint is saved, how many are kept, and of how many moments the weights."""

    interval: Count
    min_seconds: NonNegative
    keep: Count
    snapshots: CountOrZero


class Documented(Schema):
    """The result that was documented for a stage, in nats per token."""

    train: NonNegative | None
    val: NonNegative | None
    kind: Literal["estimated", "mini-batch"] | None


class TrainConfig(Schema):
    """conf/train.yaml: one training run."""

    stage: Annotated[StageName, _STATED]
    adds: Annotated[str, Field(max_length=200), _STATED]
    model: Annotated[Choice, Key("setting", package="gpt.models")]
    training: Annotated[TrainingConfig, SETTING]
    data: Annotated[Choice, DATA]
    optimizer: Annotated[Choice, _OF_TRAINING]
    schedule: Annotated[Choice, _OF_TRAINING]
    logger: Annotated[dict[str, Choice], Key("aside", package="gpt.watching")]
    metrics: Annotated[dict[MetricName, Choice], Key("aside", package="gpt.training")]
    checkpoint: Annotated[CheckpointConfig, ASIDE]
    documented: Annotated[Documented, _STATED]
    overfit: Annotated[NonNegative | None, SETTING]
    target: Annotated[NonNegative | None, ASIDE]
    init: Annotated[PathName | None, SETTING]
    name: Annotated[Label | None, Key("label")]
    tags: Annotated[list[Label], Key("label")]
    seed: Annotated[Seed, Key("repeat")]
    device: Annotated[DeviceName, ASIDE]
    dtype: Annotated[DtypeName, _ROUNDING]
    compile: Annotated[bool, _ROUNDING]
    deterministic: Annotated[bool, ASIDE]
    runs: Annotated[PathName, Key("place")]
    resume: Annotated[PathName | None, PLACE] = None
    quiet: Annotated[bool, ASIDE] = False
    as_json: Annotated[bool, Field(alias="json"), ASIDE] = False

    @model_validator(mode="after")
    def _stops_when_learned(self) -> Self:
        if self.overfit is not None and self.training.eval_interval == "epoch":
            raise ValueError("overfit= trains on one batch, without epochs: add training.eval_interval=50")
        if self.training.seconds is not None and self.checkpoint.snapshots:
            raise ValueError("training.seconds= leaves the number of iterations open: omit checkpoint.snapshots=")
        return self

    def content(self) -> dict[str, Any]:
        """The configuration as plain dictionaries, as stored in config.yaml."""
        return self.model_dump(by_alias=True, exclude={"resume", "quiet", "as_json"})
