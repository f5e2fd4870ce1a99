"""The schemas of the commands other than train.py, as of gpt/base/schema.py."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gpt.base.choices import Count, NonNegative, PathName
from gpt.base.records import MetricName
from gpt.base.schema import (
    DATA,
    LIST,
    LITERAL,
    DeviceName,
    Key,
    Label,
    Schema,
    Seed,
    StageName,
    Weights,
    listed_text,
)

_TEXT = Key(literal=True, escapes=True)


class RunConfig(Schema):
    """Which run a command is about."""

    run: Annotated[PathName | None, LITERAL]
    runs: Annotated[PathName, LITERAL]
    stage: StageName | None
    weights: Weights


class BeamConfig(Schema):
    """The settings of beam search."""

    beam: Annotated[int, Field(ge=1, le=1000)]
    length_penalty: Annotated[float, Field(ge=0, le=10)]


class GenerateConfig(RunConfig, BeamConfig):
    """conf/generate.yaml: generating text from a run."""

    prompt: Annotated[str | None, _TEXT]
    prompt_file: Annotated[PathName | None, LITERAL]
    tokens: Count
    num_samples: Count
    temperature: NonNegative
    top_k: Count | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    min_p: Annotated[float, Field(ge=0, le=1)] | None
    repetition_penalty: Annotated[float, Field(ge=0.1, le=100)] | None
    stop: Annotated[Annotated[str, Field(min_length=1)] | None, _TEXT]
    recited: bool
    seed: Seed
    device: DeviceName
    dtype: Literal["float32", "bfloat16", "int8"]


class EvaluateConfig(RunConfig, BeamConfig):
    """conf/evaluate.yaml: measuring a run on held-out data."""

    split: Literal["train", "val", "test"] | None
    text: Annotated[PathName | None, LITERAL]
    losses: bool
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


ExportFormat = Literal["hub", "transformers", "transformers_code", "onnx"]


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


class CompareConfig(Schema):
    """conf/compare.yaml: the table of all runs."""

    runs: Annotated[PathName, LITERAL]
    stage: Annotated[list[StageName], LIST, LITERAL]
    tags: Annotated[list[Label], LIST, LITERAL]
    metric: Literal["exact", "val", "train", "best"]
    x: Literal["iterations", "tokens", "seconds", "compute"]
    by: Annotated[
        Annotated[list[PathName], Field(min_length=1, max_length=2)] | None,
        BeforeValidator(listed_text, json_schema_input_type=list[PathName] | str | None),
        LITERAL,
    ]
    out: Annotated[PathName | None, LITERAL]
    title: Annotated[str | None, Field(max_length=200), LITERAL]
    tolerance: NonNegative
