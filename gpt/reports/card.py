"""A run in a notebook: a card with its losses, its curve and a sample, and its evaluations as a table."""

import base64
import html
from typing import Any

from tabulate import tabulate

from gpt.base.errors import printable
from gpt.reports.run import loss_rows
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
        losses = {"train": evaluation.train.nats, "val": evaluation.val.nats}
        row: dict[str, Any] = {"iteration": evaluation.iteration, **losses, "tokens": evaluation.tokens}
        for group, rate in evaluation.learning_rates.items():
            row["learning_rate" if len(evaluation.learning_rates) == 1 else f"learning_rate_{group}"] = rate
        for name, means in evaluation.metrics.items():
            row |= {f"{name}_train": means.train, f"{name}_val": means.val}
        rows.append(row)
    return rows


def card(summary: Summary, curve: bytes, sample: str, place: str) -> str:
    """The results of a run as HTML. `curve`: a PNG; `place`: where the run is."""
    title = f"{summary.name or summary.stage}, seed {summary.seed}: {summary.iterations:,} iterations"
    changed = f"<p>changed: {_text(', '.join(summary.changes))}</p>" if summary.changes else ""
    headers = ["nats per token", "train", "validation", ""]
    table = tabulate(loss_rows(summary), headers, tablefmt="html", floatfmt=".4f", missingval="-")
    return (
        f"<h4>{_text(title)}</h4><p>{_text(place)}</p>{changed}{table}"
        f'<img alt="loss curve" width="560" src="data:image/png;base64,{base64.b64encode(curve).decode()}">'
        f'<pre style="white-space: pre-wrap">{html.escape(printable(sample, keep=chr(10)))}</pre>'
    )


def _text(text: str) -> str:
    return html.escape(printable(text))
