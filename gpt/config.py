"""The schema of `conf/`: every value a user can set, its type and its range.

The values themselves stand in `conf/`, once; nothing here has a default. Strict: a value of another
type, a value out of range and a key too many are errors, raised as `pydantic.ValidationError`.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gpt.device import DeviceName, DtypeName

Count = Annotated[int, Field(ge=1, lt=2**31)]
Width = Annotated[int, Field(ge=1, le=2**16)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
VocabSize = Annotated[int, Field(ge=100, le=10**6)]
PathName = Annotated[str, Field(min_length=1)]


TRANSLATOR = "transformer"  # the stage whose data is sentence pairs; all others continue a text


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelConfig(_Schema):
    """A stage and its hyperparameters; a name means the same in every stage that has it."""

    target: str = Field(alias="_target_")
    block_size: Annotated[int, Field(ge=1, le=2**20)]
    n_embd: Width | None = None
    head_size: Width | None = None
    n_head: Width | None = None
    n_layer: Annotated[int, Field(ge=1, le=256)] | None = None
    dropout: Fraction | None = None
    n_hidden: Width | None = None
    norm: Literal["pre", "post"] | None = None
    shared_embedding: bool | None = None

    def hyperparameters(self) -> dict[str, int | float | str]:
        """What the stage's constructor takes, beside the size of the vocabulary."""
        return self.model_dump(exclude={"target"}, exclude_none=True)


class TrainingConfig(_Schema):
    """How a stage is trained; the comments are in conf/train.yaml."""

    max_iters: Count
    batch_size: Count
    grad_accumulation: Count
    learning_rate: NonNegative
    schedule: Literal["constant", "cosine", "linear", "inverse_sqrt"]
    warmup_iters: Annotated[int, Field(ge=0, lt=2**31)]
    min_learning_rate: NonNegative
    weight_decay: NonNegative
    beta1: Fraction
    beta2: Fraction
    grad_clip: Annotated[float, Field(gt=0)] | None
    label_smoothing: Fraction
    average_last: Annotated[float, Field(ge=0, le=1)]
    on_nonfinite: Literal["stop", "skip"]
    eval_interval: Count | Literal["epoch"]
    eval_iters: Count

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.batch_size % self.grad_accumulation:
            raise ValueError(f"batch_size={self.batch_size} must be a multiple of grad_accumulation")
        return self


class CheckpointConfig(_Schema):
    """When a training keeps all it needs to go on."""

    interval: Count
    min_seconds: NonNegative
    keep: Count


class Documented(_Schema):
    """The result that was documented for a stage, in nats per character."""

    train: float | None
    val: float | None
    kind: Literal["estimated", "mini-batch"] | None


class ShakespeareConfig(_Schema):
    """Tiny Shakespeare, found in or downloaded to `dir`."""

    name: Literal["shakespeare"]
    dir: PathName
    train_fraction: Annotated[float, Field(gt=0, lt=1)]


class TextConfig(_Schema):
    """Any UTF-8 text file."""

    name: Literal["text"]
    path: PathName
    train_fraction: Annotated[float, Field(gt=0, lt=1)]


class Multi30kConfig(_Schema):
    """German and English captions, found in or downloaded to `dir`."""

    name: Literal["multi30k"]
    dir: PathName
    vocab_size: VocabSize


class ParallelConfig(_Schema):
    """Any two UTF-8 files whose lines translate each other."""

    name: Literal["parallel"]
    source: PathName
    target: PathName
    held_out: Annotated[float, Field(gt=0, lt=1)]
    vocab_size: VocabSize


class MadeUpConfig(_Schema):
    """Random sequences, to be copied or reversed."""

    name: Literal["copy", "reverse"]
    length: Annotated[int, Field(ge=2, le=1000)]
    size: Annotated[int, Field(ge=100, le=10**7)]
    vocab_size: VocabSize


PairConfig = Multi30kConfig | ParallelConfig | MadeUpConfig
DataConfig = ShakespeareConfig | TextConfig | PairConfig


class TrainConfig(_Schema):
    """conf/train.yaml with a model and a data choice: one training run."""

    stage: Annotated[str, Field(pattern=r"^\w+$")]
    adds: str
    model: ModelConfig
    training: TrainingConfig
    checkpoint: CheckpointConfig
    documented: Documented
    data: Annotated[DataConfig, Field(discriminator="name")]
    seed: Seed
    device: DeviceName
    dtype: DtypeName
    compile: bool
    deterministic: bool
    runs: PathName
    resume: PathName | None = None


class SamplingConfig(_Schema):
    """How the next character is chosen."""

    tokens: Count
    num_samples: Count
    temperature: NonNegative
    top_k: Count | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    seed: Seed


class SearchConfig(_Schema):
    """How a translation is looked for."""

    beam: Annotated[int, Field(ge=1, le=1000)]
    length_penalty: NonNegative


class GenerateConfig(SamplingConfig, SearchConfig):
    """conf/generate.yaml: text from a run."""

    run: PathName | None
    runs: PathName
    weights: Literal["best", "last", "averaged"]
    prompt: str | None
    prompt_file: PathName | None
    device: DeviceName
    dtype: Literal["float32", "bfloat16"]


class EvaluateConfig(SearchConfig):
    """conf/evaluate.yaml: a run on its held-out data."""

    run: PathName | None
    runs: PathName
    weights: Literal["best", "last", "averaged"]
    split: Literal["val", "test"]
    device: DeviceName


class CompareConfig(_Schema):
    """conf/compare.yaml: the table of all runs."""

    runs: PathName
    out: PathName
    tolerance: NonNegative


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def explain(error: ValidationError) -> str:
    """All that is wrong with a configuration, in one line."""
    return "; ".join(_explain(problem["loc"], problem["msg"], problem["input"]) for problem in error.errors())


def _explain(location: tuple[int | str, ...], message: str, value: object) -> str:
    # A part that is not a key names a member of a union (of the data choices); the user has not heard of it.
    names = {name for choice in get_args(DataConfig) for name in get_args(choice.model_fields["name"].annotation)}
    key = ".".join(str(part) for part in location if part not in names)
    message = " ".join(message.removeprefix("Value error, ").split())
    message = message[:1].lower() + message[1:]
    if isinstance(value, dict) or not key:
        return f"{key}: {message}".removeprefix(": ")
    return f"{key}={_shorten(value)}: {message}"


def _shorten(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."
