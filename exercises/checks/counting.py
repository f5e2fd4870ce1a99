"""v1 and softmax: from counts and from scores to probabilities, and the loss of both."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from exercises.checks.steps import Exercise, Part, Step

_IDS = torch.tensor([0, 1, 1, 2, 0, 1, 3, 0, 1, 1, 2, 2, 3])  # token 4 never occurs
_V = 5


def _counted(first: Tensor, then: Tensor) -> Tensor:
    return torch.zeros(_V, _V).index_put_((first, then), torch.ones(()), accumulate=True)


def _ids(_: Any) -> SimpleNamespace:
    return SimpleNamespace(ids=_IDS)


COUNTS = Part(
    "count_pairs",
    _ids,
    lambda answer, s: answer(s.ids.clone(), _V),
    (
        Step(
            "counts",
            "the counts are",
            lambda s: _counted(s.ids[:-1], s.ids[1:]),
            {
                "the counts are transposed: row i must hold what follows token i; yours holds what "
                "precedes it": lambda s: _counted(s.ids[1:], s.ids[:-1]),
                "each pair is counted once, however often it occurs: `counts[a, b] += 1` with repeated indices adds "
                "only one of them": lambda s: _counted(s.ids[:-1], s.ids[1:]).clamp(max=1),
                "the last token is followed by the first: the text must not wrap around": lambda s: _counted(
                    s.ids, s.ids.roll(-1)
                ),
                "each token is paired with itself instead of with the next": lambda s: _counted(s.ids, s.ids),
                "the last pair is missing": lambda s: _counted(s.ids[:-2], s.ids[1:-1]),
                "the pairs are two tokens apart": lambda s: _counted(s.ids[:-2], s.ids[2:]),
            },
            (
                "Every token but the last has a successor. Two slices of `ids` hold the first and the second token of "
                "each pair.",
                "The pairs are ids[:-1] and ids[1:]. For each pair (i, j), add 1 to counts[i, j]: in a loop, or with "
                "index_put_(..., accumulate=True), which adds repeated pairs several times.",
                "counts = torch.zeros(vocab_size, vocab_size)\n"
                "for i, j in zip(ids[:-1], ids[1:]):\n    counts[i, j] += 1\nreturn counts",
            ),
            "(V, V)",
        ),
    ),
)


def _some_counts(_: Any) -> SimpleNamespace:
    return SimpleNamespace(counts=_counted(_IDS[:-1], _IDS[1:]))


PROBABILITIES = Part(
    "probabilities",
    _some_counts,
    lambda answer, s: answer(s.counts.clone()),
    (
        Step(
            "smoothed",
            "the smoothed counts are",
            lambda s: s.counts + 1,
            {
                "1 is not added, or the sum is not used: a pair that never occurs gets the probability 0, and an empty "
                "row 0/0": lambda s: s.counts,
                "1 is added to the counts that are 0 only: add it to all": lambda s: s.counts.clamp(min=1),
            },
            (
                "A pair that does not occur in this text may occur in another: nothing should be impossible.",
                "Add 1 to every count.",
                "smoothed = counts + 1",
            ),
            "(V, V)",
        ),
        Step(
            "probabilities",
            "the division is",
            lambda s: s.smoothed / s.smoothed.sum(1, keepdim=True),
            {
                "the columns add up to 1, but the rows must: what follows a token is in its row": lambda s: (
                    s.smoothed / s.smoothed.sum(0, keepdim=True)
                ),
                "the whole table adds up to 1, but each row must": lambda s: s.smoothed / s.smoothed.sum(),
                "row i is divided by other rows' sums: without keepdim=True, the sums (V,) stretch over the columns": (
                    lambda s: s.smoothed / s.smoothed.sum(1)
                ),
                "this is a softmax of the counts: they are counts, not scores, and only need to be divided": lambda s: (
                    s.smoothed.softmax(1)
                ),
            },
            (
                "Row i must add up to 1: after token i, some token comes for certain.",
                "Divide each row by its sum. The sums need the shape (V, 1), so that row i is divided by sum i.",
                "return smoothed / smoothed.sum(dim=1, keepdim=True)",
            ),
            "(V, V)",
        ),
    ),
)


def _some_probabilities(_: Any) -> SimpleNamespace:
    counts = _counted(_IDS[:-1], _IDS[1:]) + 1
    return SimpleNamespace(p=counts / counts.sum(1, keepdim=True), ids=_IDS)


_LOSSES = {
    "the minus sign is missing: a logarithm of a probability is negative, a loss "
    "positive": lambda s: s.picked.log().mean(),
    "the losses are added up: take their mean, so that a longer text has no larger "
    "loss": lambda s: -s.picked.log().sum(),
    "the logarithm is taken of the mean: take the mean of the logarithms": lambda s: -s.picked.mean().log(),
    "the logarithm has base 2: this is the loss in bits, not in nats": lambda s: -s.picked.log2().mean(),
    "the logarithm is missing": lambda s: -s.picked.mean(),
}  # fmt: skip

LOSS = Part(
    "loss",
    _some_probabilities,
    lambda answer, s: answer(s.p.clone(), s.ids.clone()),
    (
        Step(
            "picked",
            "the probabilities of what followed are",
            lambda s: s.p[s.ids[:-1], s.ids[1:]],
            {
                "the probabilities are picked from the transposed table: the first token is the row": lambda s: s.p[
                    s.ids[1:], s.ids[:-1]
                ],
                "each token's probability is that of following itself": lambda s: s.p[s.ids, s.ids],
                "the column is the first token again: it must be the one that follows": lambda s: s.p[
                    s.ids[:-1], s.ids[:-1]
                ],
            },
            (
                "For each pair of neighbours, look up the probability that the table gives to the second token.",
                "Index the table with the first tokens for the rows and the second tokens for the columns.",
                "picked = p[ids[:-1], ids[1:]]",
            ),
            "(N - 1,)",
        ),
        Step(
            "loss",
            "the loss is",
            lambda s: -s.picked.log().mean(),
            _LOSSES,
            (
                "A certain and right prediction has the loss 0; the smaller the probability, the larger the loss.",
                "The loss is the mean of -ln p.",
                "return -picked.log().mean()",
            ),
            "()",
        ),
    ),
)


def _scores(_: Any) -> SimpleNamespace:
    x = torch.randn(4, 4)
    x[1] += 1000
    x[2] -= 1000
    return SimpleNamespace(x=x)


SOFTMAX = Part(
    "softmax",
    _scores,
    lambda answer, s: answer(s.x.clone()),
    (
        Step(
            "shifted",
            "the shifted scores are",
            lambda s: s.x - s.x.amax(-1, keepdim=True),
            {
                "exp(1000) overflows to Inf, and Inf/Inf is NaN: subtract each row's largest score first, which "
                "changes no probability": lambda s: s.x,
                "the largest score of the whole tensor is subtracted: in a row far below it every exponential is 0, "
                "and 0/0 is NaN": lambda s: s.x - s.x.max(),
                "the largest score of each column is subtracted: a row must be compared with its own": lambda s: (
                    s.x - s.x.amax(0, keepdim=True)
                ),
                "the row's largest scores are subtracted from the columns: without keepdim=True, (N,) stretches over "
                "the columns": lambda s: s.x - s.x.amax(-1),
            },
            (
                "Adding a number to all scores of a row does not change its softmax. Which number keeps every "
                "exponential from overflowing?",
                "Subtract each row's largest score; keepdim=True keeps the shape (N, 1).",
                "shifted = x - x.amax(dim=-1, keepdim=True)",
            ),
            "(N, V)",
        ),
        Step(
            "exponentials",
            "the exponentials are",
            lambda s: s.shifted.exp(),
            {
                "the exponential is missing: scores may be negative, probabilities not": lambda s: s.shifted,
                "the base is 2 instead of e": lambda s: s.shifted.exp2(),
            },
            (
                "Every score must become a positive number, and a larger score a larger one.",
                "The exponential function does that.",
                "exponentials = shifted.exp()",
            ),
            "(N, V)",
        ),
        Step(
            "probabilities",
            "the division is",
            lambda s: s.exponentials / s.exponentials.sum(-1, keepdim=True),
            {
                "the softmax is over the wrong dimension: the columns add up to 1, but each row must": lambda s: (
                    s.exponentials / s.exponentials.sum(0, keepdim=True)
                ),
                "the softmax is over the whole tensor: all of it adds up to 1, but each row must": lambda s: (
                    s.exponentials / s.exponentials.sum()
                ),
                "row i is divided by other rows' sums: without keepdim=True, the sums (N,) stretch over the columns": (
                    lambda s: s.exponentials / s.exponentials.sum(-1)
                ),
                "the exponentials are not divided by their sum": lambda s: s.exponentials,
            },
            (
                "Each row must add up to 1.",
                "Divide each row by its sum, (N, 1).",
                "return exponentials / exponentials.sum(dim=-1, keepdim=True)",
            ),
            "(N, V)",
        ),
    ),
)


def _logits(_: Any) -> SimpleNamespace:
    return SimpleNamespace(logits=torch.randn(5, 5), targets=torch.tensor([2, 0, 1, 4, 4]))


CROSS_ENTROPY = Part(
    "cross_entropy",
    _logits,
    lambda answer, s: answer(s.logits.clone(), s.targets.clone()),
    (
        Step(
            "p",
            "the probabilities are",
            lambda s: s.logits.softmax(-1),
            {
                "the softmax is over the examples: it must be over the V logits of each": lambda s: s.logits.softmax(0),
                "the softmax is missing: logits are not probabilities": lambda s: s.logits,
            },
            (
                "The loss needs probabilities, and a logit is not one.",
                "Apply softmax to each row, as above.",
                "p = softmax(logits)",
            ),
            "(N, V)",
        ),
        Step(
            "picked",
            "the probabilities of the targets are",
            lambda s: s.p[torch.arange(len(s.targets)), s.targets],
            {
                "the rows and columns are exchanged: example n is row n, its target the column": lambda s: s.p[
                    s.targets, torch.arange(len(s.targets))
                ],
                "p[:, targets] takes all pairs of an example and a target: take one per example": lambda s: s.p[
                    :, s.targets
                ],
                "the largest probability is taken instead of the target's": lambda s: s.p.amax(-1),
            },
            (
                "Of each row, only one probability counts: that of the token that came.",
                "Row n, column targets[n], for n from 0 to N - 1.",
                "picked = p[torch.arange(len(targets)), targets]",
            ),
            "(N,)",
        ),
        Step(
            "loss",
            "the loss is",
            lambda s: -s.picked.log().mean(),
            _LOSSES,
            (
                "The smaller the probability of what came, the larger the loss; a certain and right "
                "prediction costs 0.",
                "The mean of -ln p.",
                "return -picked.log().mean()",
            ),
            "()",
        ),
    ),
)

EXERCISES = (
    Exercise("v1", "a bigram table by counting", "v1", (COUNTS, PROBABILITIES, LOSS)),
    Exercise("softmax", "softmax and the loss", "softmax", (SOFTMAX, CROSS_ENTROPY)),
)
