"""The schema of `conf/train.yaml`: the type and range of every value that a user can set.

The values are in `conf/`. Validation is strict: a wrong type, a value out of range or an unknown key is an error,
raised as `pydantic.ValidationError`. The hyperparameters of a choice (`model`, `data`, `optimizer`, `schedule`,
`logger`, `metrics`) are checked against the signature of the class or function it names (gpt/base/choices.py). All
other properties of a key are in its `Key` annotation, which the functions of gpt/base/keys.py look up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from gpt.base.choices import BatchSize, Choice, Count, CountOrZero, Fraction, Length, NonNegative, PathName, Share
from gpt.base.durations import DURATION, seconds_of
from gpt.base.errors import RequestError
from gpt.base.losses import Saved
from gpt.base.records import MetricName
from gpt.base.typed import listed

StageName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=60)]  # part of a folder's name
Seed = Annotated[int, Field(ge=0, lt=2**63)]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16"]
Values = Mapping[str, tuple[Any, ...]]
Weights = Literal["auto", Saved] | CountOrZero  # a number: those of the snapshot after this many iterations


@dataclass(frozen=True, kw_only=True)
class Key:
    """The properties of a key, or of all keys of a group that have no annotation of their own."""

    compared: bool = True  # with the documented run of the stage
    resumable: bool = True  # may change when a run is resumed; otherwise it identifies the run
    grouped: bool = True  # tells settings apart in a ranking; runs that differ only in other keys are repetitions
    matched: bool = True  # must be equal in the run that resume=auto finds
    literal: bool = False  # Hydra's grammar does not apply to its value
    escapes: bool = False  # \n, \t, \r and \\ in its value on the command line stand for these characters
    unused_with: Values = field(default_factory=dict)  # while these other keys all have such values, it is neither
    repeated_with: Values = field(default_factory=dict)  # while these all have, it is not grouped
    within: Mapping[str, "Key"] = field(default_factory=dict)  # exceptions among the hyperparameters of a choice


def listed_text(value: object) -> object:
    """A list that was typed as text, as in a,b; any other value is returned."""
    return listed(value) if isinstance(value, str) else value


def _duration(text: str) -> str:
    try:
        if seconds_of(text, "") > 0:
            return text
    except RequestError:
        pass
    raise ValueError("must be a duration, as in 30s or 5min")


_PATTERN = rf"^(?=.*[1-9]){DURATION}$"
Duration = Annotated[str, AfterValidator(_duration), WithJsonSchema({"type": "string", "pattern": _PATTERN})]
LITERAL = Key(literal=True)
_ASIDE = Key(compared=False, grouped=False, matched=False)  # has no effect on what a run learns
_PROJECT = replace(_ASIDE, literal=True)
_LOGGER = replace(_ASIDE, within={"wandb.project": _PROJECT, "trackio.project": _PROJECT})
_ENDS_AT_MAX_ITERS: Values = {"training.patience": (None,), "overfit": (None,)}  # whatever evaluations find
_UNAVERAGED: Values = {"training.average_last": (0.0, None)}
LIST = BeforeValidator(listed_text, json_schema_input_type=list[Label] | str)
DATA = Key(
    within={
        "_target_": Key(resumable=False),
        "vocab_size": Key(resumable=False, unused_with={"data.tokenizer": ("bytes", "characters", "gpt2")}),
        "tokenizer": Key(resumable=False),
        # Those of other corpora do not exist, which is the same as these values:
        "split": Key(unused_with={"data.split": ("place",)}),
        "encoding": Key(unused_with={"data.encoding": ("utf-8",)}),
        "newlines": Key(unused_with={"data.newlines": ("kept",)}),
        "separator": Key(compared=False, grouped=False, literal=True, escapes=True),  # the corpus's digest tells it
        **dict.fromkeys(("name", "subset", "field"), Key(literal=True)),
        # The location of a corpus, which may change:
        **dict.fromkeys(("dir", "path", "files", "source", "target"), Key(compared=False, grouped=False, literal=True)),
    }
)


class Schema(BaseModel):
    """The base class of configurations: strict, immutable, and no other keys."""

    # Each is built when first used: a script needs only one, and building all of them delays --help.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class TrainingConfig(Schema):
    """How a stage is trained; conf/train.yaml explains each key."""

    max_iters: Count
    epochs: Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, Key(grouped=False, matched=False)] = (
        None  # stored as iterations
    )
    batch_size: BatchSize
    grad_accumulation: Annotated[Count, Key(compared=False, grouped=False)]
    learning_rate: NonNegative
    grad_clip: Annotated[float, Field(gt=0, le=1e30)] | None
    windows: Literal["random", "shuffled"]
    short_window: Length | None
    short_iters: CountOrZero
    label_smoothing: Fraction
    multi_token: Annotated[NonNegative, Key(resumable=False)]
    recompute: Annotated[bool, Key(compared=False, grouped=False)]
    average_last: Share
    ema: Fraction
    patience: Count | None
    on_nonfinite: Annotated[Literal["stop", "skip"], Key(compared=False, grouped=False)]
    eval_interval: Annotated[Count | Literal["epoch"] | Duration, Key(unused_with=_ENDS_AT_MAX_ITERS | _UNAVERAGED)]
    eval_iters: Annotated[Count, Key(repeated_with=_ENDS_AT_MAX_ITERS)]
    exact_tokens: Annotated[Count | None, _ASIDE]
    sample_interval: Annotated[Count | None, _ASIDE]
    log_interval: Annotated[Count | None, _ASIDE]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch_size % self.grad_accumulation:
            raise ValueError(f"batch_size={self.batch_size} must be a multiple of grad_accumulation")
        if self.multi_token and self.short_window == 1 and self.short_iters:
            raise ValueError("multi_token= predicts the token after the next, which short_window=1 does not have")
        if self.ema and self.average_last:
            raise ValueError("ema= and average_last= both average the weights: give only one of them")
        return self


class CheckpointConfig(Schema):
    """How often a checkpoint is saved, how many are kept, and of how many moments the weights."""

    interval: Count
    min_seconds: NonNegative
    keep: Count
    snapshots: Annotated[CountOrZero, _ASIDE]


class Documented(Schema):
    """The result that was documented for a stage, in nats per token."""

    train: NonNegative | None
    val: NonNegative | None
    kind: Literal["estimated", "mini-batch"] | None


class TrainConfig(Schema):
    """conf/train.yaml: one training run."""

    stage: Annotated[StageName, Key(compared=False, resumable=False)]
    adds: Annotated[str, Field(max_length=200), Key(compared=False, resumable=False, grouped=False)]
    model: Annotated[Choice, Key(resumable=False)]
    training: Annotated[TrainingConfig, Key()]
    data: Annotated[Choice, DATA]
    optimizer: Annotated[Choice, Key(within={"_target_": Key(resumable=False)})]
    schedule: Annotated[Choice, Key()]
    logger: Annotated[dict[str, Choice], _LOGGER]
    metrics: Annotated[dict[MetricName, Choice], _ASIDE]
    checkpoint: Annotated[CheckpointConfig, _ASIDE]
    documented: Annotated[Documented, Key(resumable=False, grouped=False)]
    overfit: Annotated[NonNegative | None, Key(resumable=False)]
    target: Annotated[NonNegative | None, _ASIDE]
    init: Annotated[PathName | None, Key(resumable=False, literal=True)]
    unknown_characters: Annotated[Share | Literal["grow"], Key(compared=False, grouped=False)]
    name: Annotated[Label | None, _ASIDE]
    tags: Annotated[list[Label], LIST, Key(compared=False, grouped=False, matched=False, literal=True)]
    seed: Annotated[Seed, Key(compared=False, resumable=False, grouped=False)]
    device: Annotated[DeviceName, _ASIDE]
    dtype: Annotated[DtypeName, _ASIDE]
    compile: Annotated[bool, _ASIDE]
    deterministic: Annotated[bool, Key(compared=False, grouped=False)]
    runs: Annotated[PathName, Key(compared=False, resumable=False, grouped=False, matched=False)]
    resume: Annotated[PathName | None, Key(compared=False, resumable=False, literal=True)] = None
    quiet: Annotated[bool, _ASIDE] = False
    as_json: Annotated[bool, Field(alias="json"), _ASIDE] = False

    @model_validator(mode="after")
    def _stops_when_learned(self) -> Self:
        if self.overfit is not None and self.training.eval_interval == "epoch":
            raise ValueError("overfit= trains on one batch, without epochs: add training.eval_interval=50")
        return self

    def content(self) -> dict[str, Any]:
        """The configuration as plain dictionaries, as stored in config.yaml."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude={"resume", "quiet", "as_json"})
