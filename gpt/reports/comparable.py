"""What makes two runs comparable: the targets that their losses are over, and the settings that they differ in."""

from typing import Any, Literal

from gpt.base.keys import flat, grouped
from gpt.data.vocabulary import Vocabulary
from gpt.reports.changes import earlier_changes
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary

Metric = Literal["exact", "val", "train", "best"]


def targets(run: RunFolder, vocabulary: Vocabulary, metric: Metric) -> str:
    """What the losses of a run with this vocabulary are over: equal for runs whose losses can be compared.

    That is the corpus, and the whole vocabulary, which determines what was left out of the corpus. The exact loss of a
    text is compared by character, for which all vocabularies that leave nothing out are equal. Raises UserError if the
    run is damaged.
    """
    covers = vocabulary.covers
    if covers is None:  # sentence pairs, or an older run, whose tokens are characters
        covers = isinstance(vocabulary.vocabulary, str) and run.parent() is None
    if metric == "exact" and covers:
        return vocabulary.corpus
    return repr((vocabulary.corpus, vocabulary.vocabulary, vocabulary.merges))


def settings(run: RunFolder, summary: Summary | None, metric: Metric) -> dict[str, Any]:
    """The settings of a run that can affect the metric, by key: equal for repetitions.

    A fork is identified by the weights that it started from, wherever they are. `summary` is None for an unfinished
    run, which does not have its dtype yet. Raises UserError if the run is damaged.
    """
    content = flat(run.config().content())
    kept = {key: value for key, value in content.items() if grouped(key, content)}
    if metric == "best":  # the lowest of more evaluations is lower
        kept["training.eval_interval"] = content["training.eval_interval"]
    if kept.get("data.tokenizer", "subwords") != "subwords":
        kept.pop("data.vocab_size", None)  # it is their number
    parent = run.parent()
    if parent is not None:
        kept["init"] = f"{parent.stage}@{parent.sha256[:12]}"
    if summary is None:
        return kept
    earlier = earlier_changes(summary)
    return kept | {"dtype": summary.dtype} | ({"earlier": ", ".join(earlier)} if earlier else {})
