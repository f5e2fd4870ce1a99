"""A run in a notebook: a card with its losses, its curve and a sample, and its evaluations as a table."""

import base64
import html
from typing import Any

from tabulate import tabulate

from gpt.base.errors import printable
from gpt.runs.records import Summary
from gpt.training.progress import Evaluation


class Table(list[dict[str, Any]]):
    """Rows by column, which a notebook shows as a table and pandas takes as they are."""

    def _repr_html_(self) -> str:
        return str(tabulate(self, headers="keys", tablefmt="html"))


def history(evaluations: list[Evaluation]) -> Table:
    """The evaluations of a run as rows: losses in nats per token."""
    rows = Table()
    for evaluation in evaluations:
        row: dict[str, Any] = {name: getattr(evaluation, name) for name in ("iteration", "train", "val", "tokens")}
        for group, rate in evaluation.learning_rates.items():
            row["learning_rate" if len(evaluation.learning_rates) == 1 else f"learning_rate_{group}"] = rate
        for name, means in evaluation.metrics.items():
            row |= {f"{name}_train": means.train, f"{name}_val": means.val}
        rows.append(row)
    return rows


def card(summary: Summary, curve: bytes, sample: str, place: str) -> str:
    """The results of a run as HTML. `curve`: a PNG; `place`: where the run is."""
    documented = [] if summary.changed else [("documented", summary.documented.train, summary.documented.val)]
    losses = [*documented, ("measured", summary.estimated.train, summary.estimated.val)]
    losses += [("exact", None, summary.exact.val)]
    rows = [[name, *("-" if x is None else f"{x:.4f}" for x in of_splits)] for name, *of_splits in losses]
    title = f"{summary.name or summary.stage}, seed {summary.seed}: {summary.iterations:,} iterations"
    changed = f"<p>changed: {_text(', '.join(summary.changed))}</p>" if summary.changed else ""
    table = tabulate(rows, ["nats per token", "train", "validation"], tablefmt="html", disable_numparse=True)
    return (
        f"<h4>{_text(title)}</h4><p>{_text(place)}</p>{changed}{table}"
        f'<img alt="loss curve" width="560" src="data:image/png;base64,{base64.b64encode(curve).decode()}">'
        f'<pre style="white-space: pre-wrap">{html.escape(printable(sample, keep=chr(10)))}</pre>'
    )


def _text(text: str) -> str:
    return html.escape(printable(text))
