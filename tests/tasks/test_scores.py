"""Scores of translations: sacrebleu's numbers, with the signatures that make them comparable."""

import pytest
import sacrebleu

from gpt.tasks.translation import scores

REFERENCES = ["A man with a hat plays guitar.", "Two dogs run over the green grass.", "A child is sleeping on a bench."]
FOUND = ["a man with a hat plays the guitar.", "Two dogs run over the green grass.", "A child sleeps on a bench."]


def test_scores_are_those_of_sacrebleu_with_the_signatures_of_their_measures() -> None:
    bleu, lower, chrf, right = scores(FOUND, REFERENCES)
    assert [s.name for s in (bleu, lower, chrf, right)] == ["BLEU", "BLEU, lower case", "chrF", "exact matches"]
    assert bleu.value == sacrebleu.corpus_bleu(FOUND, [REFERENCES]).score
    assert lower.value == sacrebleu.corpus_bleu(FOUND, [REFERENCES], lowercase=True).score
    assert chrf.value == sacrebleu.corpus_chrf(FOUND, [REFERENCES]).score
    assert 0 < bleu.value < lower.value < 100
    assert right.value == pytest.approx(100 / 3)
    assert bleu.unit.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert lower.unit.startswith("nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:")
    assert chrf.unit.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert right.unit == "% of sentences"
    *_, spaced = scores([" a b ", "c"], ["  a b", "d"])  # subwords do not keep the spaces at the ends of a line
    assert spaced.value == 50
    assert [s.value for s in scores(REFERENCES, REFERENCES)] == pytest.approx([100, 100, 100, 100])
