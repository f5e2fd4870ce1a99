"""The schemas of the commands other than train.py, as of gpt/config/schema.py."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from gpt.base.record import MetricName
from gpt.config.choices import Choice, Count, CountOrZero, NonNegative, PathName, Share
from gpt.config.schema import DATA, LIST, LITERAL, DeviceName, Duration, Label, Schema, Seed, StageName, Weights

_TEXT = replace(LITERAL, escapes=True)


class RunConfig(Schema):
    """Which run a command is about."""

    run: Annotated[PathName | None, LITERAL]
    runs: Annotated[PathName, LITERAL]
    stage: StageName | None
    weights: Weights


class BeamConfig(Schema):
    """The settings of beam search."""

    beam: Annotated[int, Field(ge=1, le=1000)] = 5
    length_penalty: Annotated[float, Field(ge=0, le=10)] = 1.0


@dataclass(frozen=True)
class Slider:
    """How the playground offers an option: as a slider, at whose `neutral` position it has its default value.

    None stands for the size of the vocabulary.
    """

    label: str
    low: float
    high: float | None
    step: float
    neutral: float | None
    folded: bool = True


@dataclass(frozen=True)
class TextField:
    """How the playground offers an option: as a field for text, with its default value while that is empty."""

    label: str
    folded: bool = True


_Positive = Annotated[float, Field(gt=0, le=1)]
_Stop = Annotated[str, Field(min_length=1)]


class SamplingConfig(Schema):
    """The settings of sampling, for generate.py, Python and the playground alike; conf/generate.yaml explains each.

    gpt/tasks/decoding/sampling.py has the functions of those that leave tokens out.
    """

    tokens: Count = 500
    seed: Seed = 1337
    temperature: Annotated[NonNegative, Slider("Temperature T", 0, 2, 0.05, 1, folded=False)] = 1.0
    top_k: Annotated[Count | None, Slider("Top-k", 1, None, 1, None, folded=False)] = None
    top_p: Annotated[_Positive | None, Slider("Top-p", 0.05, 1, 0.05, 1, folded=False)] = None
    min_p: Annotated[Share | None, Slider("Min-p", 0, 1, 0.01, 0)] = None
    typical_p: Annotated[_Positive | None, Slider("Typical-p", 0.05, 1, 0.05, 1)] = None
    repetition_penalty: Annotated[
        Annotated[float, Field(ge=0.1, le=100)] | None, Slider("Repetition penalty", 1, 2, 0.05, 1)
    ] = None
    stop: Annotated[
        _Stop | Annotated[list[_Stop], Field(min_length=1, max_length=100)] | None,
        replace(_TEXT, listed=True),
        TextField("Stop before"),
    ] = None

    def sampling(self) -> dict[str, Any]:
        """These settings by name, without those that a command adds."""
        return {name: getattr(self, name) for name in SamplingConfig.model_fields}


class GenerateConfig(RunConfig, BeamConfig, SamplingConfig):
    """conf/generate.yaml: generating text from a run."""

    prompt: Annotated[str | None, _TEXT]
    prompt_file: Annotated[PathName | None, LITERAL]
    interactive: bool
    num_samples: Count
    logprobs: CountOrZero
    as_json: Annotated[bool, Field(alias="json")]
    out: Annotated[PathName | None, LITERAL]
    device: DeviceName
    dtype: Literal["float32", "bfloat16", "int8"]


class EvaluateConfig(RunConfig, BeamConfig):
    """conf/evaluate.yaml: measuring a run on held-out data."""

    split: Literal["train", "val", "test"] | None
    text: Annotated[str | None, _TEXT]
    exact_tokens: Count | None
    as_json: Annotated[bool, Field(alias="json")]
    data: Annotated[dict[str, PathName | None], DATA]
    device: DeviceName


class StudyConfig(Schema):
    """conf/search.yaml: a hyperparameter search."""

    n_trials: Count
    minutes: NonNegative | None
    study: Annotated[PathName | None, LITERAL]
    prune: bool
    metric: MetricName
    sampling_seed: Seed


ExportFormat = Literal["hub", "transformers", "onnx", "script"]


class ExportConfig(RunConfig):
    """conf/export.yaml: exporting a run for other programs."""

    format: ExportFormat
    out: Annotated[PathName | None, LITERAL]
    license: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=60)]


class PlayConfig(RunConfig):
    """conf/play.yaml: a page about the runs."""

    device: DeviceName
    host: PathName
    port: Annotated[int, Field(ge=0, lt=2**16)]
    names: Annotated[list[Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=255)]], LIST, LITERAL]
    open: bool
    out: Annotated[PathName | None, LITERAL]
    data: Annotated[dict[Literal["dir"], PathName], DATA]


class DataConfig(Schema):
    """conf/data.yaml: what a training would see of a corpus."""

    data: Annotated[Choice, DATA]


class SelectionConfig(Schema):
    """Which runs a command is about."""

    runs: Annotated[PathName, LITERAL]
    stage: Annotated[list[StageName], LIST, LITERAL]
    tags: Annotated[list[Label], LIST, LITERAL]


class RunsConfig(SelectionConfig):
    """conf/runs.yaml: the list of runs."""

    since: Duration | None
    sort: Literal["newest", "loss"]
    as_json: Annotated[bool, Field(alias="json")]


class TagConfig(Schema):
    """conf/tag.yaml: giving tags to runs, and taking them."""

    runs: Annotated[PathName, LITERAL]
    tags: Annotated[list[Label], LIST, LITERAL, Field(min_length=1)]


class NameConfig(Schema):
    """conf/name.yaml: giving a run another name."""

    run: Annotated[PathName, LITERAL]
    name: Annotated[Label, LITERAL]


class CompareConfig(SelectionConfig):
    """conf/compare.yaml: the table of all runs."""

    metric: MetricName
    x: Literal["iterations", "tokens", "seconds", "compute"] | None
    by: Annotated[PathName | None, LITERAL]
    out: Annotated[PathName | None, LITERAL]
    title: Annotated[str | None, Field(max_length=200), LITERAL]
    tolerance: NonNegative
