"""The report of a run: its closing lines, its loss curve, and its card and table in a notebook."""

import base64
import html
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from gpt import registry
from gpt.base.console import command
from gpt.base.errors import printable
from gpt.base.losses import nats_per
from gpt.base.pictures import picture
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.training.state import Evaluation, Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"train": "tab:blue", "val": "tab:orange"}


class LossRow(NamedTuple):
    """A row of the losses of a run, in nats per token."""

    name: str
    train: float | None
    val: float | None
    note: str  # the targets and the weights


def loss_rows(summary: Summary) -> list[LossRow]:
    """The losses of a run: documented, if it is the documented run, measured and exact."""
    documented, estimated, exact, rows = summary.documented, summary.estimated, summary.exact, []
    if not summary.changes:
        of_batch = documented.kind == "mini-batch"
        note = "one training mini-batch, varies by about 0.1" if of_batch else documented.kind
        rows.append(LossRow("documented", documented.train, documented.val, note or "no figure was documented"))
        if of_batch and summary.last_batch is not None:
            rows.append(LossRow("last batch", summary.last_batch.nats, None, "last training mini-batch of this run"))
    rows.append(LossRow("measured", estimated.train.nats, estimated.val.nats, estimated.val.described))
    rows.append(LossRow("exact", None, exact.nats, f"{exact.described} {exact.of_weights}".strip()))
    if exact.in_other_units:
        rows.append(LossRow("", None, None, f"that is {exact.in_other_units}"))
    return rows


def closing_lines(summary: Summary, run: RunFolder) -> list[str]:
    """The closing lines of a run's log: the losses, and the next command."""
    exact, changed = summary.exact, summary.changes
    lines = [_row("", "train", "validation", f"({nats_per('token')})"), *(_row(*row) for row in loss_rows(summary))]
    if summary.documented.kind == "estimated" and not changed:
        documented, measured = summary.documented, summary.estimated
        pairs = ((measured.train.nats, documented.train), (measured.val.nats, documented.val))
        train, val = (None if loss is None else f"{nats - loss:+.4f}" for nats, loss in pairs)
        lines.append(_row("difference", train, val, "measured - documented"))
    if summary.target is not None:
        counted = f"{summary.counted_seconds:.1f} s of training steps and their preparation"
        not_judged = f"not judged {exact.objection}," if exact.objection else None
        verdict = not_judged or ("reached" if summary.reached else "missed")
        lines.append(f"target {summary.target:.4f} {nats_per(exact.unit)} {verdict} after {counted}")
    if summary.best.weights != summary.iterations:
        lines.append(f"best validation loss {summary.best.nats:.4f} at iteration {summary.best.weights}")
    if changed:
        lines.append(f"not the documented run of {summary.stage}: {', '.join(changed)}")
    flops = f", {summary.flops:.3g} floating-point operations in training steps" if summary.flops else ""
    speed = summary.tokens_per_second
    steps = f"{run.evaluations()[-1].tokens / speed if speed else 0:.1f} s of training steps, {speed:,.0f} tokens/s"
    whole = f"{summary.seconds:.1f} s {'since it was resumed' if len(summary.commands) > 1 else 'with evaluations'}"
    return [
        *lines,
        f"{summary.parameters:,} parameters{flops}",
        f"{steps}; {whole}",
        f"run folder: {run.path}",
        f"sample from it: {command('generate')} run={shlex.quote(str(run.path))}{registry.words(run.config().model)}",
    ]


def _row(name: str, train: float | str | None, val: float | str | None, note: str) -> str:
    cells = ["-" if loss is None else loss if isinstance(loss, str) else f"{loss:.4f}" for loss in (train, val)]
    return f"{name:<12}{cells[0]:>9}{cells[1]:>12}   {note}".rstrip()


class Picture:
    """A PNG, which a notebook shows."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def save(self, path: str | Path) -> None:
        """Write it to a file."""
        Path(path).write_bytes(self.content)

    def _repr_png_(self) -> bytes:
        return self.content

    def as_html(self, width: int = 560) -> str:
        """An image that contains it."""
        encoded = base64.b64encode(self.content).decode()
        return f'<img alt="loss curve" width="{width}" src="data:image/png;base64,{encoded}">'


def curve_of_run(run: RunFolder, summary: Summary) -> Picture:
    """The run's loss curves, with the documented losses if it is the documented run."""
    training = run.config().training
    is_plain = not (training.label_smoothing or training.multi_token)
    of_steps = "mini-batch" if is_plain else "mini-batch, as it is trained"
    return loss_curve(run.evaluations(), run.steps(), summary, of_steps)


def loss_curve(evaluations: list[Evaluation], steps: list[Step], summary: Summary, of_steps: str = "") -> Picture:
    """The loss curves of a run; each metric has its own panel below. `of_steps` names the losses of steps."""
    from matplotlib.figure import Figure  # slow to import, and needed once a run

    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.metrics))
    height = 4.5 + 2.5 * len(names)
    figure = Figure(figsize=(7, height))
    # Inches around the panels. Measuring the labels instead would take as long as drawing them.
    figure.subplots_adjust(left=0.75 / 7, right=1 - 0.15 / 7, bottom=0.5 / height, top=1 - 0.35 / height, hspace=0.1)
    ratios = [4.5, *(2.5 for _ in names)]
    above, *below = figure.subplots(1 + len(names), sharex=True, squeeze=False, height_ratios=ratios).flat
    _draw_losses(above, evaluations, steps, summary, of_steps)
    for axes, name in zip(below, names, strict=True):
        points = [(e.iteration, e.metrics[name]) for e in evaluations if name in e.metrics]
        for split, colour in _COLOURS.items():
            values: Any = [math.nan if getattr(m, split) is None else getattr(m, split) for _, m in points]
            axes.plot([iteration for iteration, _ in points], values, ".-", color=colour, label=f"{split}, estimated")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    figure.axes[-1].set_xlabel("iteration")
    return Picture(picture(figure))


def _draw_losses(
    axes: "Axes", evaluations: list[Evaluation], steps: list[Step], summary: Summary, of_steps: str
) -> None:
    recorded = [(step.iteration, step.loss) for step in steps if step.loss is not None]
    if recorded:
        axes.plot(*zip(*recorded, strict=True), color="lightgrey", linewidth=0.8, label=of_steps)
    iterations, changed = [evaluation.iteration for evaluation in evaluations], summary.changes
    for split, colour in _COLOURS.items():
        losses = [getattr(evaluation, split) for evaluation in evaluations]
        axes.plot(iterations, losses, ".-", color=colour, label=f"{split}, estimated")
        loss = getattr(summary.documented, split)
        if loss is not None and not changed:
            label = f"{split}, documented {loss:.4f} ({summary.documented.kind})"
            axes.axhline(loss, color=colour, linestyle=":", label=label)
    best = summary.best
    axes.plot(
        best.weights,
        best.nats,
        "o",
        color=_COLOURS["val"],
        markerfacecolor="none",
        markersize=9,
        label=f"best, {best.nats:.4f} at iteration {best.weights:,}",
    )
    count = len(changed)
    differing = f", {count} {'change' if count == 1 else 'changes'} from the documented run" if count else ""
    title = f"{summary.name or summary.stage}, seed {summary.seed}{differing}"
    axes.set_title(printable(title), fontsize="medium", parse_math=False)
    axes.set_ylabel(f"loss ({nats_per('token')})")
    axes.grid(alpha=0.3)
    axes.legend()


class Table(list[dict[str, Any]]):
    """Rows by column: a notebook shows them as a table, and pandas accepts them."""

    def _repr_html_(self) -> str:
        return str(tabulate(self, headers="keys", tablefmt="html"))


def history(evaluations: list[Evaluation]) -> Table:
    """The evaluations of a run as rows: losses in nats per token."""
    rows = (evaluation.row() for evaluation in evaluations)
    return Table({name: value for name, value in row.items() if name != "sample"} for row in rows)


def card(summary: Summary, curve: Picture, sample: str, place: str) -> str:
    """The results of a run as HTML; `place`: where the run is."""
    title = f"{summary.name or summary.stage}, seed {summary.seed}: {summary.iterations:,} iterations"
    changed = f"<p>changed: {_text(', '.join(summary.changes))}</p>" if summary.changes else ""
    headers = [nats_per("token"), "train", "validation", ""]
    table = tabulate(loss_rows(summary), headers, tablefmt="html", floatfmt=".4f", missingval="-")
    return (
        f"<h4>{_text(title)}</h4><p>{_text(place)}</p>{changed}{table}"
        f"{curve.as_html()}"
        f'<pre style="white-space: pre-wrap">{html.escape(printable(sample, keep=chr(10)))}</pre>'
    )


def _text(text: str) -> str:
    return html.escape(printable(text))
