"""How runs differ: from the documented run of their stage in words, and from each other for a comparison."""

from typing import Any, Literal

from gpt.base.keys import flat, grouped
from gpt.data.vocabulary import Vocabulary
from gpt.runs.folder import RunFolder
from gpt.runs.records import Exact, Summary

Metric = Literal["exact", "val", "train", "best"]

# An earlier value of these leaves no trace in the weights; an average that depended on the interval is not continued.
_TRACELESS = {"training.max_iters", "training.eval_iters", "training.eval_interval"}


def changes(summary: Summary) -> list[str]:
    """What differs from the documented run, at the end or in an earlier part; empty for a documented run."""
    left_out = [] if summary.left_out is None else [f"{summary.left_out} left out"]
    seen = [f"{summary.parent.seen}"] if summary.parent and summary.parent.seen else []
    return [*summary.changed, *left_out, *seen, *earlier_changes(summary)]


def earlier_changes(summary: Summary) -> list[str]:
    """What was different in earlier parts of the run: either another value or the documented one."""
    now_changed = [key for change in summary.changed if (key := _key(change)) not in _TRACELESS]
    found = []
    for segment in summary.earlier:
        keys = {_key(change) for change in segment.changed}
        differing = [c for c in segment.changed if c not in summary.changed and _key(c) not in _TRACELESS]
        differing += [f"{key} as documented" for key in now_changed if key not in keys]
        found += [f"{change} until iteration {segment.until}" for change in differing]
    return found


def sample(run: RunFolder, exact: Exact, metric: Metric) -> str | None:
    """The targets of an exact loss over a sample, which windows of another length place elsewhere; None for a split."""
    if metric != "exact" or not exact.loss.is_sample:
        return None
    T = run.config().model.hyperparameters.get("block_size")
    return exact.loss.over + (f" in windows of {T}" if T else "")


def targets(vocabulary: Vocabulary, metric: Metric) -> str:
    """What the losses of a run with this vocabulary are over: equal for runs whose losses can be compared.

    That is the corpus, and the whole vocabulary, which determines what was left out of the corpus. The exact loss of a
    text is compared by character, for which all vocabularies that leave nothing out are equal.
    """
    if metric == "exact" and vocabulary.covers:
        return vocabulary.corpus
    return repr((vocabulary.corpus, vocabulary.vocabulary, vocabulary.merges))


def settings(run: RunFolder, summary: Summary | None, metric: Metric) -> dict[str, Any]:
    """The settings of a run that can affect the metric, by key: equal for repetitions.

    A fork is identified by the weights that it started from, wherever they are. `summary` is None for an unfinished
    run, which does not have its dtype yet. Raises UserError if the run is damaged.
    """
    content = flat(run.config().content())
    kept = {key: value for key, value in content.items() if grouped(key, content)}
    if metric == "best":  # the lowest of more evaluations, or of noisier ones, is lower
        kept |= {key: content[key] for key in ("training.eval_interval", "training.eval_iters")}
    parent = run.parent()
    if parent is not None:
        kept["init"] = f"{parent.stage}@{parent.sha256[:12]}"
    if summary is None:
        return kept
    if sampled := sample(run, summary.exact, metric):
        kept["exact_over"] = sampled
    earlier = earlier_changes(summary)
    return kept | {"dtype": summary.dtype} | ({"earlier": ", ".join(earlier)} if earlier else {})


def _key(change: str) -> str:
    return change.partition("=")[0]
