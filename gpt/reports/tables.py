"""Rankings of runs as tables, for LaTeX and as CSV."""

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tabulate import tabulate

from gpt.base.errors import printable
from gpt.base.losses import nats_per
from gpt.reports import escaping
from gpt.reports.documented import with_deviation
from gpt.reports.plots import XLABELS, Axis, at_equal
from gpt.reports.ranking import WORSE_THAN_GUESSING, Group, Ranking, format_key, label, names
from gpt.runs.records import LOSSES, Metric, Summary


def table(ranking: Ranking, metric: Metric, style: str) -> str:
    """A ranking in a style of tabulate: "github" for Markdown, "simple" for a terminal."""
    short, metrics = names(ranking.keys), [name for name in _metrics([ranking]) if name != metric]
    with_bits = metric == "exact" and not ranking.has_characters
    headers = [*short.values(), "seeds", _title(ranking, metric), *(["bits per byte"] if with_bits else [])]
    headers += [*(f"{name}, estimated" for name in metrics), "standing", "tokens/s", "folder of the newest"]
    cells = [
        [
            *(format_key(key, group.values[key]) for key in ranking.keys),
            len(group.runs),
            with_deviation(group.mean, group.deviation),
            *([_bits(group)] if with_bits else []),
            *(_mean([s.metrics[name] for _, s in group.runs if name in s.metrics]) for name in metrics),
            group.standing,
            f"{statistics.median(summary.tokens_per_second for _, summary in group.runs):,.0f}",
            str(group.runs[-1].folder.path),
        ]
        for group in ranking.groups
    ]
    cells += [
        [
            *(format_key(key, other.values[key]) for key in ranking.keys),
            0,
            *(["-"] * (1 + with_bits + len(metrics))),
            str(other.state),
            "-",
            str(other.run.path),
        ]
        for other in ranking.unfinished
    ]
    escaped = escaping.markdown if style == "github" else printable
    rows = [[escaped(str(cell)) for cell in row] for row in cells]
    heading = f"{len(ranking.runs)} run{'s' if len(ranking.runs) > 1 else ''} on {ranking.corpus}"
    if ranking.shared:
        heading += f"; changed from the documented run in all runs: {', '.join(ranking.shared)}"
    shown_rows = tabulate(rows, [*map(escaped, headers)], tablefmt=style, disable_numparse=True)
    return "\n\n".join([escaped(heading), shown_rows, _note(ranking, metric, escaped)])


def _title(ranking: Ranking, metric: Metric) -> str:
    """The heading of what a ranking is by."""
    if metric not in LOSSES:
        return f"{metric}, estimated"
    return f"{'best ' if metric == 'best' else ''}{ranking.runs[0].summary.loss(metric).title}"


def _bits(group: Group) -> str:
    """The mean exact loss in bits per byte, of a text."""
    bits = [summary.exact.bits_per("byte") for _, summary in group.runs]
    known = [each for each in bits if each is not None]
    return f"{statistics.mean(known):.4f}" if len(known) == len(bits) else "-"


def equal_table(ranking: Ranking, x: Axis, style: str) -> str | None:
    """The losses at an equal amount of training, in a style of tabulate; None if `at_equal` returns None."""
    if (equal := at_equal(ranking, x)) is None:
        return None
    escaped = escaping.markdown if style == "github" else printable
    rows = [[escaped(label(group.values)), _mean(losses)] for group, losses in equal[1]]
    shown_rows = tabulate(rows, ["", "estimated val"], tablefmt=style, disable_numparse=True)
    return (
        f"After {equal[0]:.3g} {XLABELS[x]}, which all of these runs reached, interpolated between evaluations, "
        f"{nats_per(ranking.unit)}:\n\n{shown_rows}"
    )


def _metrics(rankings: list[Ranking]) -> list[str]:
    """The metrics of the runs in these rankings."""
    return list(dict.fromkeys(name for ranking in rankings for _, summary in ranking.runs for name in summary.metrics))


def _mean(values: list[float]) -> str:
    if not values:
        return "-"
    return with_deviation(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def _note(ranking: Ranking, metric: Metric, escaped: Callable[[str], str]) -> str:
    exact = [summary.exact.over for _, summary in ranking.runs]
    note = f"{f'Nats per {ranking.unit}, mean' if metric in LOSSES else 'Mean'} ± standard deviation over seeds. "
    if not ranking.has_characters and _metrics([ranking]):
        note += "Metrics are per token. "
    if samples := {over.targets for over in exact if over.is_sample}:
        note += f"The exact loss is over a sample: {' or '.join(sorted(samples))}. "
    if ranking.older:
        folders = ", ".join(escaped(str(run.path)) for run, _ in ranking.older)
        note += f"Not counted, because there is a newer run of the same settings and seed: {folders}. "
    if len(ranking.groups) == 1:
        return note.strip()
    if any(group.standing == WORSE_THAN_GUESSING for group in ranking.groups):
        note += "worse than guessing: above ln V nats per token, where V is the size of the vocabulary. "
    if not ranking.is_tested:
        note += "With one seed each, the noise is unknown: add seed=1,2,3."
    return note.strip()


def as_latex(ranking: Ranking, metric: Metric) -> str:
    """The groups of a ranking as a table of booktabs, with the corpus in a comment above it."""
    short, title = names(ranking.keys), _title(ranking, metric)
    rows = [
        {short[key]: printable(format_key(key, value)) for key, value in group.values.items()}
        | {"seeds": len(group.runs), title: with_deviation(group.mean, group.deviation)}
        for group in ranking.groups
    ]
    table = tabulate(rows, "keys", tablefmt="latex_booktabs", disable_numparse=True)
    return f"% {printable(ranking.corpus)}\n{table}\n"


def groups_csv(rankings: list[Ranking]) -> str:
    """A row a group: the keys that vary, how many runs it has, and their mean and standard deviation."""
    return _csv(
        {key: format_key(key, group.values.get(key)) for key in _keys(rankings)}
        | {"corpus": ranking.corpus, "unit": nats_per(ranking.unit), "seeds": len(group.runs), "mean": group.mean}
        | {"deviation": "" if group.deviation is None else group.deviation, "standing": group.standing}
        for ranking in rankings
        for group in ranking.groups
    )


def runs_csv(rankings: list[Ranking]) -> str:
    """A row a run: the keys that vary, and the results or, for an unfinished run, how far it got."""
    keys, metrics = _keys(rankings), _metrics(rankings)
    finished = (
        {key: format_key(key, group.values.get(key)) for key in keys}
        | {"corpus": ranking.corpus, "standing": group.standing}
        | _results(summary)
        | {f"{name}_val": summary.metrics.get(name, "") for name in metrics}
        | {"folder": str(run.path)}
        for ranking in rankings
        for group in ranking.groups
        for run, summary in group.runs
    )
    unfinished = (
        {key: format_key(key, other.values.get(key)) for key in keys}
        | {"corpus": ranking.corpus, "standing": str(other.state), "seed": other.seed, "folder": str(other.run.path)}
        for ranking in rankings
        for other in ranking.unfinished
    )
    return _csv([*finished, *unfinished])


def _keys(rankings: list[Ranking]) -> list[str]:
    return list(dict.fromkeys(key for ranking in rankings for key in ranking.keys))


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows under the names of the first one's cells."""
    rows = [*rows]
    columns = [*rows[0]] if rows else ["corpus"]
    content = io.StringIO(newline="")
    cells = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    csv.writer(content).writerows([escaping.csv_cell(cell) for cell in row] for row in cells)
    return content.getvalue()


def _results(summary: Summary) -> dict[str, Any]:
    return {
        "stage": summary.stage, "name": summary.name, "tags": " ".join(summary.tags), "seed": summary.seed,
        "iterations": summary.iterations, "exact_val": summary.exact.nats, "val": summary.estimated.val.nats,
        "train": summary.estimated.train.nats, "best_val": summary.best.nats, "parameters": summary.parameters,
        "flops": summary.flops,
        "tokens_per_second": summary.tokens_per_second, "seconds": summary.seconds,
        "counted_seconds": summary.counted_seconds,
        "left_out": summary.left_out.count if summary.left_out else 0,
        "exact_weights": summary.exact.weights,
        "exact_targets": summary.exact.over.count, "exact_of": summary.exact.over.of,
        "nats_per_character": summary.exact.per("character"), "bits_per_byte": summary.exact.bits_per("byte"),
    }  # fmt: skip
