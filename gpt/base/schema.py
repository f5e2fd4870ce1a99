"""The schema of `conf/train.yaml`: the type and range of every value that a user can set.

The values are in `conf/`. Validation is strict: a wrong type, a value out of range or an unknown key is an error,
raised as `pydantic.ValidationError`. The hyperparameters of a choice (`model`, `data`, `optimizer`, `schedule`,
`logger`, `metrics`) are checked against the signature of the class or function it names (gpt/base/choices.py). All
else that the program knows of a key is in its `Key` annotation, which the functions of gpt/base/keys.py look up: no
other file has a list of keys.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gpt.base.choices import BatchSize, Choice, Count, CountOrZero, Fraction, Length, NonNegative, PathName, Share
from gpt.base.durations import seconds_of
from gpt.base.losses import Saved
from gpt.base.record import MetricName
from gpt.base.typed import listed

StageName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=60)]  # part of a folder's name
Seed = Annotated[int, Field(ge=0, lt=2**63)]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16"]
Values = Mapping[str, tuple[Any, ...]]
Weights = Literal["auto", Saved] | CountOrZero  # a number: those of the snapshot after this many iterations


@dataclass(frozen=True)
class Key:
    """Everything that is said of a key, or of those hyperparameters of a choice that have no `Key` of their own."""

    same: bool  # runs that differ in it alone are repetitions of each other, which a ranking does not tell apart
    _: KW_ONLY
    compared: bool | None = None  # with the documented run of the stage; None: unless it is `same`
    matched: bool = True  # must be equal in the run that resume=auto finds
    unused_with: Values = field(default_factory=dict)  # while these other keys all have such values, it has no effect
    repeated_with: Values = field(default_factory=dict)  # while these all have, it is `same`
    # When a run is resumed or forked:
    resumable: bool = True  # may change when a run is resumed; otherwise it identifies the run
    fixed_unless: Values = field(default_factory=dict)  # may not change then unless all these have such values
    identified_by: str = ""  # the key that tells one choice from another, of a group
    is_whole: bool = False  # a group that is replaced as a whole, because each choice has keys of its own
    extends: bool = False  # resume=auto may change it in an unfinished run
    decides: str = ""  # the key that it decides, unless it is null
    leaves_trace: bool = True  # an earlier value shows in the weights at the end
    inherited: bool = False  # a fork takes it from its parent
    # What it is:
    of_folder: bool = False  # says where runs are, and nothing about one
    is_path: bool = False  # a place on the user's machine, which nothing that is published names
    is_label: bool = False  # what people call the run
    sets_amount: bool = False  # the amount of training, and so its compute
    evaluates: bool = False  # how often or how well losses are estimated; "best" is the lowest estimate
    of_texts: bool = False  # has no effect on a run that translates
    on_page: bool = False  # the page's own training has the run's value, and otherwise that of conf/
    by_hand: bool = True  # is set by itself; otherwise a choice such as model=NAME sets it
    # Of a corpus:
    changes_targets: bool = False  # losses of runs that differ in it can be over other targets
    names_corpus: bool = False  # its value is what people call the corpus
    in_digest: bool = False  # changes the corpus, which is identified by its digest
    splits_tokens: bool = False  # the tokens into which the corpus is split
    is_said: bool = True  # with the corpus, if its value is not the usual one
    # On the command line:
    literal: bool = False  # Hydra's grammar does not apply to its value
    of_run: Literal["", "one", "several"] = ""  # it takes runs, which gpt/runs/naming.py finds by their names
    escapes: bool = False  # \n, \t, \r and \\ in its value stand for these characters
    listed: bool = False  # [a,b] without quotes around it is a list of texts, though it is literal
    package: str = ""  # of a group: where its choices are defined, as of their Registry
    if_path: "Key | None" = None  # what is said of each hyperparameter that is annotated as a path
    within: Mapping[str, "Key"] = field(default_factory=dict)  # exceptions among the hyperparameters of a choice

    @property
    def is_compared(self) -> bool:
        """Whether it is compared with the documented run of the stage, apart from `unused_with`."""
        return not self.same if self.compared is None else self.compared


def _duration(text: str) -> str:
    seconds_of(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
SETTING = Key(same=False)  # another setting
_RESULTS = Key(same=True)  # the same results, or as good as the same
_ASIDE = Key(same=True, matched=False)  # has no effect on what a run learns
_OF_TEXTS = replace(SETTING, of_texts=True)
_OF_TRAINING = Key(same=False, inherited=True, package="gpt.training")
_MODEL = Key(same=False, resumable=False, inherited=True, on_page=True, identified_by="stage", package="gpt.models")
_PROJECTS = dict.fromkeys(("wandb.project", "trackio.project"), replace(_ASIDE, literal=True))
_STATED = Key(same=True, compared=True, resumable=False, by_hand=False, on_page=True)  # of the stage
_ENDS_AT_MAX_ITERS: Values = {"training.patience": (None,), "overfit": (None,)}  # whatever evaluations find
_UNAVERAGED: Values = {"training.average_last": (0.0, None)}
_EVALUATES = Key(same=False, fixed_unless=_ENDS_AT_MAX_ITERS, leaves_trace=False, evaluates=True, on_page=True)
_EPOCHS = Key(same=True, compared=True, extends=True, decides="training.max_iters", leaves_trace=False)
_SECONDS = replace(_EPOCHS, same=False)
LITERAL = Key(same=True, literal=True)
LIST = BeforeValidator(lambda value: listed(value) if isinstance(value, str) else value)  # typed as text: a,b
_FOLDER = replace(_ASIDE, resumable=False, of_folder=True, is_path=True)
_INIT = Key(same=False, resumable=False, changes_targets=True, is_path=True, literal=True, of_run="one")
_RESUME = replace(_FOLDER, compared=True, literal=True, of_run="one")  # what it names has settings of its own
# Groups of files that set keys, for new runs alone.
SETTING_FILES = dict.fromkeys(("experiment", "debug"), Key(same=False, resumable=False, changes_targets=True))
_PATH = Key(same=True, is_path=True, literal=True, names_corpus=True, in_digest=True)
_UNSAID = replace(SETTING, literal=True, is_said=False)
_TOKENS = Key(same=False, resumable=False, splits_tokens=True)
_TARGET = Key(same=False, resumable=False, by_hand=False)
DATA = Key(
    same=False,
    inherited=True,
    changes_targets=True,
    on_page=True,
    identified_by="data._target_",
    package="gpt.data",
    if_path=_PATH,
    within={
        "_target_": _TARGET,
        "tokenizer": _TOKENS,
        "vocab_size": replace(_TOKENS, unused_with={"data.tokenizer": ("bytes", "characters", "gpt2")}),
        "separator": Key(same=True, literal=True, escapes=True, in_digest=True, is_said=False),
        "name": replace(SETTING, literal=True, names_corpus=True),
        **dict.fromkeys(("subset", "field"), _UNSAID),
        "split": replace(SETTING, is_said=False),
        "dir": Key(same=True, is_path=True, literal=True, is_said=False),  # of downloads
    },
)


class Schema(BaseModel):
    """The base class of configurations: strict, immutable, and no other keys."""

    # Each is built when first used: a script needs only one, and building all of them delays --help.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class TrainingConfig(Schema):
    """How a stage is trained; conf/train.yaml explains each key."""

    max_iters: Annotated[Count, Key(same=False, extends=True, leaves_trace=False, sets_amount=True, on_page=True)]
    epochs: Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, _EPOCHS] = None
    seconds: Annotated[Annotated[float, Field(gt=0, le=1e9)] | Duration | None, _SECONDS] = None
    batch_size: Annotated[BatchSize, Key(same=False, sets_amount=True, on_page=True)]
    grad_accumulation: Annotated[Count, _RESULTS]
    learning_rate: Annotated[NonNegative, replace(SETTING, on_page=True)]
    grad_clip: Annotated[Annotated[float, Field(gt=0, le=1e30)] | None, SETTING]
    windows: Annotated[Literal["random", "shuffled"], _OF_TEXTS]
    short_window: Annotated[Length | None, _OF_TEXTS]
    short_iters: Annotated[CountOrZero, _OF_TEXTS]
    label_smoothing: Annotated[Fraction, SETTING]
    multi_token: Annotated[NonNegative, Key(same=False, resumable=False)]
    recompute: Annotated[bool, _RESULTS]
    average_last: Annotated[Share, SETTING]
    ema: Annotated[Fraction, SETTING]
    patience: Annotated[Count | None, SETTING]
    on_nonfinite: Annotated[Literal["stop", "skip"], _RESULTS]
    eval_interval: Annotated[
        Count | Literal["epoch"] | Duration, replace(_EVALUATES, unused_with=_ENDS_AT_MAX_ITERS | _UNAVERAGED)
    ]
    eval_iters: Annotated[Count, replace(_EVALUATES, repeated_with=_ENDS_AT_MAX_ITERS, of_texts=True)]
    exact_tokens: Annotated[Count | None, _ASIDE]
    sample_interval: Annotated[Count | None, _ASIDE]
    log_interval: Annotated[Count | None, _ASIDE]

    @property
    def undecided(self) -> set[str]:
        """The keys whose numbers the corpus or the speed will decide."""
        of_length = {"max_iters"} if self.epochs is not None or self.seconds is not None else set()
        is_timed = isinstance(self.eval_interval, str) and self.eval_interval != "epoch"
        return of_length | ({"eval_interval"} if is_timed else set())

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
        if self.multi_token and self.short_window == 1 and self.short_iters:
            raise ValueError("multi_token= predicts the token after the next, which short_window=1 does not have")
        if self.ema and self.average_last:
            raise ValueError("ema= and average_last= both average the weights: give only one of them")
        return self


class CheckpointConfig(Schema):
    """How often a checkpoint is saved, how many are kept, and of how many moments the weights."""

    interval: Annotated[Count, _ASIDE]
    min_seconds: Annotated[NonNegative, _ASIDE]
    keep: Annotated[Count, _ASIDE]
    snapshots: Annotated[CountOrZero, _ASIDE]


class Documented(Schema):
    """The result that was documented for a stage, in nats per token."""

    train: Annotated[NonNegative | None, _STATED]
    val: Annotated[NonNegative | None, _STATED]
    kind: Annotated[Literal["estimated", "mini-batch"] | None, _STATED]


class TrainConfig(Schema):
    """conf/train.yaml: one training run."""

    stage: Annotated[StageName, Key(same=False, compared=False, resumable=False, inherited=True, on_page=True)]
    adds: Annotated[str, Field(max_length=200), replace(_STATED, compared=False, inherited=True)]
    model: Annotated[Choice, _MODEL]
    training: Annotated[TrainingConfig, Key(same=False, inherited=True)]
    data: Annotated[Choice, DATA]
    optimizer: Annotated[Choice, replace(_OF_TRAINING, within={"_target_": _TARGET})]
    schedule: Annotated[Choice, replace(_OF_TRAINING, is_whole=True, extends=True)]
    logger: Annotated[dict[str, Choice], replace(_ASIDE, is_whole=True, within=_PROJECTS)]
    metrics: Annotated[dict[MetricName, Choice], replace(_ASIDE, is_whole=True)]
    checkpoint: Annotated[CheckpointConfig, _ASIDE]
    documented: Annotated[Documented, replace(_STATED, inherited=True)]
    overfit: Annotated[NonNegative | None, Key(same=False, resumable=False)]
    target: Annotated[NonNegative | None, _ASIDE]
    init: Annotated[PathName | None, _INIT]
    name: Annotated[Label | None, replace(_ASIDE, is_label=True)]
    tags: Annotated[list[Label], LIST, replace(_ASIDE, is_label=True, literal=True)]
    seed: Annotated[Seed, Key(same=True, resumable=False, on_page=True)]
    device: Annotated[DeviceName, _ASIDE]
    dtype: Annotated[DtypeName, replace(_ASIDE, compared=True, unused_with={"dtype": ("auto", "float32")})]
    compile: Annotated[bool, _ASIDE]
    deterministic: Annotated[bool, _RESULTS]
    runs: Annotated[PathName, _FOLDER]
    resume: Annotated[PathName | None, _RESUME] = None
    quiet: Annotated[bool, _ASIDE] = False
    as_json: Annotated[bool, Field(alias="json"), _ASIDE] = False

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
