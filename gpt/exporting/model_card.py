"""The text of a model card: the model and its corpus, documented and measured losses, a sample."""

import re
from collections.abc import Callable

from tabulate import tabulate

from gpt.base.errors import UserError, printable
from gpt.base.files import read_text_file
from gpt.base.runtime import size_of
from gpt.config.keys import declared, is_compared, unusual
from gpt.config.values import parted
from gpt.models import Remembering
from gpt.reports.escaping import markdown
from gpt.reports.run import closing_lines, loss_rows
from gpt.runs.records import Summary
from gpt.session.trained import TrainedRun

_HEAD = """{stage}: {adds}

A {kind} language model with {parameters:,} parameters that {does}, trained from {start} with gpt-ladder
({iterations:,} iterations, seed {seed}) on {corpus}.{remembered}

"""

_TEXT = """
# {head}{losses}

Nats per {token}, on the run's own splits. {weights}{changed}

{usage}{sample}"""

_USAGE = """```python
from gpt.exporting.hub import PretrainedGPT

model = PretrainedGPT.from_pretrained("FOLDER")  # this folder, or a repository of the hub
print(model.generate({prompt}))
```
"""


def body(trained: TrainedRun) -> str:
    """The Markdown below the metadata. Raises UserError if the run has not finished."""
    summary, token = trained.summary, trained.task.token
    changed = markdown(", ".join(without_paths(summary.changes)))
    losses = [(*row[:-1], markdown(row.note)) for row in loss_rows(summary)]
    return _TEXT.format(
        head=_head(trained, markdown),
        losses=tabulate(losses, ["loss", "train", "validation", "over"], "github", floatfmt=".4f", missingval="-"),
        token=token,
        weights=_weights(trained, summary),
        changed=f" Not the documented run of {markdown(summary.stage)}: {changed}." if changed else "",
        usage=_USAGE.format(prompt=trained.task.example),
        sample=_sample(trained),
    )


def in_terminal(trained: TrainedRun) -> str:
    """The same on one screen, with the closing lines of the run instead of tables."""
    closing, sample = closing_lines(trained.summary, trained.run), _sample(trained).splitlines()
    named = f"{trained.config.name}, " if trained.config.name else ""
    return printable("\n".join([named + _head(trained, str) + "\n".join(closing), *sample[:11]]), keep="\n")


def _head(trained: TrainedRun, escaped: Callable[[str], str]) -> str:
    """What was trained, how and on what."""
    summary, config = trained.summary, trained.config
    parent, said = summary.parent, unusual("data", config.data)
    source = [
        f"{name}={value}"
        for name, value in config.data.hyperparameters.items()
        if is_compared(f"data.{name}") and (name in said or name == "name")
    ]
    return _HEAD.format(
        stage=escaped(config.stage),
        adds=escaped(config.adds),
        kind=trained.task.token,
        parameters=size_of(trained.model),
        does=trained.task.purpose,
        start=f"the weights of another run ({parent.iterations:,} iterations)" if parent else "random weights",
        iterations=summary.iterations,
        seed=summary.seed,
        corpus=escaped(", ".join([config.data.target.rpartition(".")[2], *source])),
        remembered=_remembered(trained),
    )


def _remembered(trained: TrainedRun) -> str:
    """A notice that the weights contain the training text, if they do."""
    if not isinstance(trained.model, Remembering):
        return ""
    size = trained.model.ngrams.table_bytes() / 1e6
    return (
        "\n\n**The weights contain the training text**, which the number of parameters does not include: anyone who "
        f"has this model has the text.\nIts counts fill a table of {size:,.1f} MB when the model is loaded."
    )


def _weights(trained: TrainedRun, summary: Summary) -> str:
    best, is_moving = summary.best, trained.config.training.ema
    averaged = "a moving average over all iterations" if is_moving else "an average over the last evaluations"
    known: dict[str | int, str] = {
        "best": f"those of iteration {best.weights:,}, with an estimated validation loss of {best.nats:.4f}",
        "last": "those after the last iteration",
        "averaged": averaged,
    }
    words = known.get(trained.which) or f"those of iteration {trained.which:,}"
    own = "" if trained.which == summary.exact.weights else "; the exact loss is of others"
    return f"The weights here are {words}{own}."


def without_paths(changed: list[str]) -> list[str]:
    """The changes as key=value, without the values of paths on this machine and the folders of runs."""
    changed = [re.sub(r"^from .*(?=, trained on another text$)", "from another run", change) for change in changed]
    keys = [parted(change)[0] for change in changed]
    is_path = [key in ("--config-path", "init") or declared(key).role == "place" for key in keys]
    return [key if hidden else change for key, change, hidden in zip(keys, changed, is_path, strict=True)]


def _sample(trained: TrainedRun) -> str:
    """The run's sample as an indented block: no character in it can end the block."""
    try:
        lines = read_text_file(trained.run.path / "sample.txt").splitlines()
    except UserError:
        return ""
    return "\nA sample:\n\n" + "".join("    " + printable(line, keep="\t") + "\n" for line in lines)
