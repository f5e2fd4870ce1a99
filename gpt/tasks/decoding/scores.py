"""Scores of translations against their references, computed by sacrebleu.

Sources: "A Call for Clarity in Reporting BLEU Scores" (Post, 2018); "chrF" (Popovic, 2015).
"""

from sacrebleu.metrics import BLEU, CHRF

from gpt.tasks.task import Measure


def scores(outputs: list[str], references: list[str]) -> list[Measure]:
    """BLEU, BLEU in lower case, chrF and the share of exact translations, all in percent."""
    result = []
    for name, metric in (("BLEU", BLEU()), ("BLEU, lower case", BLEU(lowercase=True)), ("chrF", CHRF())):
        value = metric.corpus_score(outputs, [references]).score
        result.append(Measure(name, value, str(metric.get_signature())))
    right = sum(a == b for a, b in zip(outputs, references, strict=True)) / len(references)
    return [*result, Measure("exact matches", 100 * right, "% of sentences")]
