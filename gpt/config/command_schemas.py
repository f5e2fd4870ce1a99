"""The commands other than train.py: the keys of each, with their defaults and meanings, and the text of its --help."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from gpt.base.installation import data_folder
from gpt.base.record import MetricName
from gpt.config.choices import Count, CountOrZero, NonNegative, PathName, Share
from gpt.config.schema import DATA, DeviceName, Duration, Label, Schema, Seed, StageName, Weights
from gpt.config.values import Escapes
from gpt.registry import Choice

_RUN = "a run: its folder, its name, last, best, a stage, or a sweep for its winner; null: the newest finished one"
_RUNS = "a folder of run folders, a run (its folder or name, last, best, a sweep), or several, as in runs=A,B"
_STAGE = "only runs of this stage (or model=v5); null: any stage"
_DEVICE = "auto, cpu, cuda or mps"
_EscapedText = Annotated[str, Escapes()]


class RunConfig(Schema):
    """Say what a run is: stage, corpus, losses, what differs from the documented run, speed, a sample.

    python -m gpt show
    python -m gpt show my_best
    """

    run: PathName | None = Field(None, description=_RUN)
    runs: PathName = Field("runs", description="where to look for the newest run, and for runs by their names")
    stage: StageName | None = Field(None, description=_STAGE)
    weights: Weights = Field(
        "auto",
        description="best (lowest estimated validation loss), last, averaged, or the iteration of a snapshot; "
        "auto: averaged if the run has them, else best",
    )


class BeamConfig(Schema):
    """The settings of beam search."""

    beam: Annotated[int, Field(ge=1, le=1000)] = Field(
        5, description="for translation: candidates kept per step; 1 is greedy"
    )
    length_penalty: Annotated[float, Field(ge=0, le=10)] = Field(
        1.0, description="for translation: higher values favour longer output"
    )


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
_Stop = Annotated[str, Escapes(), Field(min_length=1)]


class SamplingConfig(Schema):
    """The settings of sampling, for generate.py, Python and the playground alike.

    gpt/tasks/decoding/sampling.py has the functions of those that leave tokens out.
    """

    tokens: Count = Field(
        500, description="tokens to generate; a token is a character unless data.tokenizer= said otherwise"
    )
    seed: Seed = Field(1337, description="the same seed gives the same text")
    temperature: Annotated[NonNegative, Slider("Temperature T", 0, 2, 0.05, 1, folded=False)] = Field(
        1.0, description="below 1 favours likely tokens, above 1 surprising ones; 0 always takes the likeliest"
    )
    top_k: Annotated[Count | None, Slider("Top-k", 1, None, 1, None, folded=False)] = Field(
        None, description="sample from the k likeliest tokens only"
    )
    top_p: Annotated[_Positive | None, Slider("Top-p", 0.05, 1, 0.05, 1, folded=False)] = Field(
        None,
        description="nucleus sampling: sample from the fewest tokens with this share of the probability that top_k "
        "leaves",
    )
    min_p: Annotated[Share | None, Slider("Min-p", 0, 1, 0.01, 0)] = Field(
        None, description="leave out tokens with less than this share of the likeliest one's probability"
    )
    typical_p: Annotated[_Positive | None, Slider("Typical-p", 0.05, 1, 0.05, 1)] = Field(
        None,
        description="sample from the fewest tokens with this share of the probability whose surprise is closest to the "
        "entropy",
    )
    repetition_penalty: Annotated[
        Annotated[float, Field(ge=0.1, le=100)] | None, Slider("Repetition penalty", 1, 2, 0.05, 1)
    ] = Field(
        None, description="above 1, tokens of the text so far become less likely; for subwords rather than characters"
    )
    stop: Annotated[
        _Stop | Annotated[list[_Stop], Field(min_length=1, max_length=100)] | None, TextField("Stop before")
    ] = Field(None, description=r'end the text before this string, as in stop="\\n\\n"; null: after `tokens` tokens')

    def sampling(self) -> dict[str, Any]:
        """These settings by name, without those that a command adds."""
        return {name: getattr(self, name) for name in SamplingConfig.model_fields}


class GenerateConfig(RunConfig, BeamConfig, SamplingConfig):
    r"""Print text from a trained run: the text to standard output, everything else to standard error.

    python generate.py
    python generate.py prompt="ROMEO:" tokens=1000 temperature=0.8 top_p=0.9
    python generate.py prompt="ROMEO:" stop='[\n\n,JULIET]'               # up to the first of several strings
    python generate.py model=v5                                          # from the newest run of v5
    python generate.py prompt="Ein Mann mit einem Hut spielt Gitarre."   # a transformer's run translates,
    python generate.py prompt_file=german.txt                            # also a file line by line, or standard input
    python generate.py my_best "ROMEO:" weights=last num_samples=3       # from the run of this name
    python generate.py prompt="ROMEO:" num_samples=100 out=samples.jsonl
    python generate.py prompt="ROMEO:" tokens=20 logprobs=5 json=true    # the likeliest characters at each place
    python generate.py interactive=true                                  # continue what you type, line by line
    echo "ROMEO:" | python generate.py run=runs/2026-01-31/12-00-00_v5_seed1337
    """

    prompt: _EscapedText | None = Field(
        None,
        description=r"what the text starts with, where \n is a newline, \t a tab and \\ a backslash; null: a newline, "
        "which is not printed",
    )
    prompt_file: PathName | None = Field(None, description="a file that contains the prompt")
    interactive: bool = Field(
        default=False, description="continue each line that is typed, until Ctrl-D; Ctrl-C ends a continuation"
    )
    num_samples: Count = Field(1, description="number of samples")
    logprobs: CountOrZero = Field(
        0,
        description="of each token, also show so many of the likeliest at its place, with log probabilities (in nats, "
        "before temperature=, top_k= and the like)",
    )
    as_json: bool = Field(default=False, alias="json", description="print a line of JSON for each text")
    out: PathName | None = Field(
        None, description="write to this file: NAME.txt, or NAME.jsonl, which is json=true; null: print"
    )
    device: DeviceName = Field("auto", description=_DEVICE)
    dtype: Literal["float32", "bfloat16", "int8"] = Field(
        "float32",
        description="bfloat16 is faster for a large model, int8 on a CPU fastest; after the first token that rounding "
        "decides, it is another text",
    )


class CorpusPlace(Schema):
    """Where the corpora are that were downloaded."""

    dir: PathName = Field(default_factory=data_folder, description="the folder of the corpora that are downloaded")


class MovedCorpus(CorpusPlace):
    """Where the corpus of a run is now."""

    path: PathName | None = Field(None, description="the file of a run with data=text, if it has moved since training")
    source: PathName | None = Field(None, description="the source file of a run with data=parallel")
    target: PathName | None = Field(None, description="its target file")


class EvaluateConfig(RunConfig, BeamConfig):
    """Print the exact loss of a run and, for a run that translates, BLEU and chrF with their signatures.

    python evaluate.py
    python evaluate.py model=v5 text=FILE json=true
    python evaluate.py "To be or not to be"                               # a text with a space; or text=Romeo
    fortune | python evaluate.py text=-                                   # standard input
    python evaluate.py run=runs/2026-01-31/12-00-00_transformer_seed1337 weights=averaged beam=5
    """

    split: Literal["train", "val", "test"] | None = Field(
        None, description="train, val or test; null: test for sentence pairs, val for a text"
    )
    text: _EscapedText | None = Field(
        None,
        description="a UTF-8 file, a text itself, or - for standard input: measured instead of a split of the run's "
        "corpus",
    )
    exact_tokens: Count | None = Field(
        5_000_000,
        description="most targets to score; from a longer split or text, an evenly spread sample is taken; null: no "
        "limit",
    )
    as_json: bool = Field(default=False, alias="json", description="print JSON instead of a table")
    data: MovedCorpus = Field(default_factory=MovedCorpus)
    device: DeviceName = Field("auto", description=_DEVICE)


class StudyConfig(Schema):
    """Search for the hyperparameters with the lowest exact validation loss. Each trial is an ordinary run of train.py.

    The command line is that of train.py, with a range in place of one or more values:

      key='interval(0.0,0.5)'             a number in this interval
      key='tag(log,interval(1e-4,1e-1))'  the same, on a logarithmic scale
      key='range(1,5)'                    1, 2, 3 or 4
      key=a,b,c                           one of several

    To continue a search that was stopped, repeat its command. To start several workers, run the same command in
    several terminals.

    metric=accuracy searches for the highest accuracy, estimated on the validation split at the end of each trial.

    python search.py experiment=search_v6
    python search.py model=v6 training.max_iters=1000 training.learning_rate='tag(log,interval(1e-4,1e-1))'
    python search.py experiment=search_v6 n_trials=100
    python search.py model=gru data=recall metrics=accuracy metric=accuracy model.n_embd='range(8,65)'
    """

    n_trials: Count = Field(30, description="trials in total, including those of earlier commands and of other workers")
    minutes: NonNegative | None = Field(None, description="begin no trial after this many minutes; null: no limit")
    study: PathName | None = Field(
        None, description="the folder of the study; null: a folder in `runs`, named after the experiment or the stage"
    )
    prune: bool = Field(
        default=True, description="stop a trial that is worse than the median of the others at the same iteration"
    )
    metric: MetricName = Field(
        "exact",
        description="search for the lowest exact validation loss, or for the best value of a metric of metrics=",
    )
    sampling_seed: Seed = Field(1, description="seed of Optuna's sampler")


ExportFormat = Literal["hub", "transformers", "onnx", "script"]


class ExportConfig(RunConfig):
    """Export a trained run. The export is compared with the run before the command succeeds.

    python export.py format=hub
    python export.py format=onnx model=v7
    python export.py run=runs/2026-01-31/12-00-00_v7_seed1337 format=transformers out=my_gpt
    """

    format: ExportFormat = Field(
        "hub",
        description="hub (Hugging Face, read by this package), onnx, transformers (v6 and v7 as that library's GPT-2), "
        "or script (a stage of the ladder as one file of plain PyTorch that trains it)",
    )
    out: PathName | None = Field(
        None, description="the new folder; null: a folder in the run folder, named after the format"
    )
    license: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=60)] = Field(
        "mit", description="license of the exported weights, for the model card of format=hub"
    )


class PlayConfig(RunConfig):
    """Open a page in the browser that shows what one or two trained runs predict, attend to and generate.

    python play.py
    python play.py model=v5                          # begin with the newest run of v5
    python play.py runs=sweep port=0 open=false
    python play.py out=site runs=runs                # the page as static files, which need no server
    """

    runs: PathName = Field(
        "runs", description="folder of the runs to choose from, or several, as in runs=A,B; with out=, exactly these"
    )
    run: PathName | None = Field(
        None, description="the run to show first, its folder or name; null: the newest finished one"
    )
    device: DeviceName = Field("auto", description=_DEVICE)
    host: PathName = Field(
        "127.0.0.1", description="the address to listen on; any other address makes the page available to others"
    )
    port: Annotated[int, Field(ge=0, lt=2**16)] = Field(8000, description="0: any free port")
    names: list[Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=255)]] = Field(
        default_factory=list, description="further host names of this server, as in names=[gpu.example.org]"
    )
    open: bool = Field(default=True, description="open a browser")
    out: PathName | None = Field(
        None, description="write the page to this new folder instead, as static files with one run of each stage"
    )
    data: CorpusPlace = Field(default_factory=CorpusPlace)


class DataConfig(Schema):
    """Show what a training would see: sizes, vocabulary, split, first lines, and the losses of three simple guesses.

    A model that has learned something has a lower loss than each of them.

    python -m gpt data FILE
    python -m gpt data reviews.csv field=review tokenizer=subwords
    python -m gpt data FOLDER
    python -m gpt data USER/NAME                                # a dataset of the Hugging Face hub
    """

    data: Annotated[Choice, DATA]


class SelectionConfig(Schema):
    """Which runs a command is about."""

    runs: PathName = Field("runs", description=_RUNS)
    stage: list[StageName] = Field(
        default_factory=list, description="only runs of these stages, as in stage=v5,v6 (or model=v5); none: all"
    )
    tags: list[Label] = Field(
        default_factory=list, description="only runs that have all these tags, as in tags=[tuning]"
    )


class RunsConfig(SelectionConfig):
    """List the runs, a line each: loss or state, stage, what is not as documented, corpus, age, tags, folder.

    A run without a loss is training, or was paused, diverged, pruned, failed or killed.

    python -m gpt runs
    python -m gpt runs v5 since=7d sort=loss
    python -m gpt runs FOLDER FOLDER tags=[wide] json=true
    """

    since: Duration | None = Field(
        None,
        description="only runs that finished, or were last started, this long ago at most, as in since=7d; null: all",
    )
    sort: Literal["newest", "loss"] = Field("newest", description="the newest first, or the lowest loss")
    as_json: bool = Field(default=False, alias="json", description="print the list as JSON, for programs")


class TagConfig(Schema):
    """Give tags to a run, finished or not, and take those that have a minus sign.

    python -m gpt tag RUN golden -wide
    """

    runs: PathName = Field(description="runs, their folders or names, as in runs=A,B")
    tags: list[Label] = Field(
        min_length=1, description="to add, or with a minus sign to take away, as in tags=[golden,-wide]"
    )


class NameConfig(Schema):
    """Give a run another name.

    python -m gpt name RUN best_v5
    """

    run: PathName = Field(description="its folder, which stays where it is, or what it is called now")
    name: Label = Field(description="letters, digits and _ . + - only")


class CompareConfig(SelectionConfig):
    """Compare finished runs with the documented losses and with each other: tables and a picture.

    Runs that differ in their seed only are one group; what differs between groups becomes a column.

    python compare.py
    python compare.py runs=runs/2026-01-31 out=table.tex
    python compare.py runs=runs/2026-01-31/12-00-00_sweep by=lr out=lr.png
    python compare.py runs=FOLDER,FOLDER by=n_layer metric=val out=by.pdf
    python compare.py runs=FOLDER x=compute out=curves.svg
    python compare.py runs=FOLDER stage=v4,v4_with_residuals out=slide.svg title="What residual connections are worth"
    """

    metric: MetricName = Field(
        "exact",
        description="what to rank by: the loss exact, or the estimated val, train or best; or a metric of the runs, as "
        "in metric=accuracy",
    )
    x: Literal["iterations", "tokens", "seconds", "compute"] | None = Field(
        None,
        description="horizontal axis of the curves: iterations; or tokens, seconds or compute (floating-point "
        "operations), which also compares the losses after an equal amount of it; null: seconds if all runs had a "
        "budget of training.seconds=, else iterations",
    )
    by: PathName | None = Field(
        None,
        description="draw the loss against this key, as in by=lr out=lr.png, or against by=parameters or by=compute",
    )
    out: PathName | None = Field(
        None,
        description="a file to write, by its ending: the tables (.md), a table of the groups for LaTeX (.tex) or a "
        "spreadsheet (.csv; runs.csv has a row a run), or the picture (.png, .svg, .pdf); null: nothing is written",
    )
    title: Annotated[str, Field(max_length=200)] | None = Field(None, description="the title of the picture")
    tolerance: NonNegative = Field(0.03, description="nats: a mean this close to the documented loss agrees with it")
