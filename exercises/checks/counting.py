"""v1 and softmax: from counts and from scores to probabilities, and the loss of both."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from exercises.checks.steps import Exercise, Given, Part, Step, Way

_IDS = torch.tensor([0, 1, 1, 2, 0, 1, 3, 0, 1, 1, 2, 2, 3, 1])  # token 4 never occurs
_OTHER_IDS = torch.tensor([2, 6, 0, 2, 2, 6, 0, 1, 0])
_MANY_IDS = torch.tensor(
    [0] * 300 + [10, 11, 1, 1, 1, 1, 11]
)  # tokens of two digits, runs, and more than a byte counts


def _counted(first: Tensor, then: Tensor, V: int) -> Tensor:
    return torch.zeros(V, V).index_put_((first, then), torch.ones(()), accumulate=True)


def _ids(ids: Tensor, vocab_size: int) -> Given:
    return lambda _: SimpleNamespace(ids=ids, vocab_size=vocab_size)


COUNTS = Part(
    "count_pairs",
    (_ids(_IDS, 5), _ids(_OTHER_IDS, 8), _ids(_IDS[:1], 3), _ids(_MANY_IDS, 13)),
    (
        Step(
            "counts",
            "the counts are",
            lambda s: _counted(s.ids[:-1], s.ids[1:], s.vocab_size),
            {
                "the counts are transposed: row i must hold what follows token i; yours holds what "
                "precedes it": lambda s: _counted(s.ids[1:], s.ids[:-1], s.vocab_size),
                "each pair is counted once, however often it occurs: `counts[a, b] += 1` with repeated indices adds "
                "only one of them": lambda s: _counted(s.ids[:-1], s.ids[1:], s.vocab_size).clamp(max=1),
                "the last token is followed by the first: the text must not wrap around": lambda s: _counted(
                    s.ids, s.ids.roll(-1), s.vocab_size
                ),
                "each token is paired with itself instead of with the next": lambda s: _counted(
                    s.ids, s.ids, s.vocab_size
                ),
                "the last pair is missing": lambda s: _counted(s.ids[:-2], s.ids[1:-1], s.vocab_size),
                "every second pair is missing": lambda s: _counted(s.ids[:-1][::2], s.ids[1::2], s.vocab_size),
                "the first pair is missing": lambda s: _counted(s.ids[1:-1], s.ids[2:], s.vocab_size),
                "each pair is counted in both directions": lambda s: (
                    _counted(s.ids[:-1], s.ids[1:], s.vocab_size) + _counted(s.ids[1:], s.ids[:-1], s.vocab_size)
                ),
                "the counts begin with 1 instead of 0: `probabilities` adds the 1": lambda s: (
                    1 + _counted(s.ids[:-1], s.ids[1:], s.vocab_size)
                ),
                "the counts are divided by their sum: `probabilities` does that": lambda s: (
                    (counts := _counted(s.ids[:-1], s.ids[1:], s.vocab_size)) / counts.sum(1, keepdim=True)
                ),
                "the table has only as many rows as the text has tokens: it must have vocab_size": lambda s: _counted(
                    s.ids[:-1], s.ids[1:], int(s.ids.max()) + 1
                ),
                "the pairs are two tokens apart": lambda s: _counted(s.ids[:-2], s.ids[2:], s.vocab_size),
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
    inputs=("ids", "vocab_size"),
)


def _table(ids: Tensor, V: int) -> Given:
    return lambda _: SimpleNamespace(counts=_counted(ids[:-1], ids[1:], V))


def _adding(number: float) -> Way:
    return lambda s: s.counts + number


PROBABILITIES = Part(
    "probabilities",
    (_table(_IDS, 5), _table(_OTHER_IDS, 8), _table(_MANY_IDS, 13)),
    (
        Step(
            "smoothed",
            "the smoothed counts are",
            lambda s: s.counts + 1,
            {
                "1 is not added, or the sum is not used: a pair that never occurs gets the probability 0, and an empty "
                "row 0/0": lambda s: s.counts,
                "the wrong number is added to the counts: add 1": lambda s: s.counts + 1 / len(s.counts),
                **{
                    f"{number} is added to the counts: add 1": _adding(number)
                    for number in (2, 0.5, 0.1, 0.01, 1e-3, 1e-5)
                },
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
                "the sum is that of the counts without the 1: divide by the sum of the smoothed counts": lambda s: (
                    s.smoothed / s.counts.sum(1, keepdim=True)
                ),
                "1 is added to each row's sum, but V counts grew by 1: divide by the sum of the smoothed counts": (
                    lambda s: s.smoothed / (s.counts.sum(1, keepdim=True) + 1)
                ),
                "1 is added to the sums, but not to the counts": lambda s: (
                    s.counts / (s.counts + 1).sum(1, keepdim=True)
                ),
                "the counts are divided by the largest of the row instead of their sum": lambda s: (
                    s.smoothed / s.smoothed.amax(1, keepdim=True)
                ),
                "the counts are divided by V instead of their sum": lambda s: s.smoothed / s.smoothed.shape[1],
                "the division is missing": lambda s: s.smoothed,
                "1 is added after the division": lambda s: s.counts / s.counts.sum(1, keepdim=True) + 1,
                "1 is added to the probabilities: add it to the counts, before the division": lambda s: (
                    (raised := s.counts / s.counts.sum(1, keepdim=True).clamp(min=1) + 1) / raised.sum(1, keepdim=True)
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
    inputs=("counts",),
)


def _probabilities(ids: Tensor, V: int) -> Given:
    counts = _counted(ids[:-1], ids[1:], V) + 1
    return lambda _: SimpleNamespace(p=counts / counts.sum(1, keepdim=True), ids=ids)


_LOSSES = {
    "the minus sign is missing: a logarithm of a probability is negative, a loss positive": lambda s: (
        s.picked.log().mean()
    ),
    "the losses are added up: take their mean, so that a longer text has no larger loss": lambda s: (
        -s.picked.log().sum()
    ),
    "the logarithm is taken of the mean: take the mean of the logarithms": lambda s: -s.picked.mean().log(),
    "the logarithm has base 2: this is the loss in bits, not in nats": lambda s: -s.picked.log2().mean(),
    "the logarithm is missing": lambda s: -s.picked.mean(),
    "this is 1 - p: take the logarithm of p": lambda s: (1 - s.picked).mean(),
    "this is 1 / p: take the logarithm of p": lambda s: (1 / s.picked).mean(),
    "the loss is that of the last position only: take the mean of all": lambda s: -s.picked.log()[-1],
    "the loss is that of the first position only: take the mean of all": lambda s: -s.picked.log()[0],
    "the loss is weighted by p: all examples count alike": lambda s: -(s.picked * s.picked.log()).mean(),
    "the losses are not averaged: the loss is a single number": lambda s: -s.picked.log(),
    "this is the perplexity, exp of the loss": lambda s: (-s.picked.log().mean()).exp(),
}


def _of_rows(rows: Way, targets: Way) -> dict[str, Way]:
    """Measures of whole rows of probabilities that have names of their own."""
    return {
        "this is the entropy, how uncertain the rows are: take -ln p of the target alone": lambda s: (
            -(rows(s) * rows(s).log()).sum(-1).mean()
        ),
        "this is the squared error of the probabilities (Brier's score): take -ln p of the target": lambda s: (
            (rows(s) - nn.functional.one_hot(targets(s), rows(s).shape[-1])).square().sum(-1).mean()
        ),
        "this is the accuracy, how often the target is the likeliest: take -ln p of the target": lambda s: (
            (rows(s).argmax(-1) == targets(s)).float().mean()
        ),
    }


LOSS = Part(
    "loss",
    (_probabilities(_IDS, 5), _probabilities(_OTHER_IDS, 8), _probabilities(_MANY_IDS, 13)),
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
                "all entries of the table are taken: look up those of the pairs of neighbours": lambda s: s.p,
                "the text wraps around: the last token has no successor": lambda s: s.p[s.ids, s.ids.roll(-1)],
                "the pairs are two tokens apart": lambda s: s.p[s.ids[:-2], s.ids[2:]],
                "all pairs of a row and a column are taken: take one entry for each pair of neighbours": (
                    lambda s: s.p[s.ids[:-1]][:, s.ids[1:]]
                ),
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
            {
                **_LOSSES,
                **_of_rows(lambda s: s.p[s.ids[:-1]], lambda s: s.ids[1:]),
                "this is the mean entropy of the table's rows: take -ln p of what followed": lambda s: (
                    -(s.p * s.p.log()).sum(1).mean()
                ),
                "cross_entropy is given probabilities, but applies softmax to what it is given: take -ln of p": (
                    lambda s: nn.functional.cross_entropy(s.p[s.ids[:-1]], s.ids[1:])
                ),
            },
            (
                "A certain and right prediction has the loss 0; the smaller the probability, the larger the loss.",
                "The loss is the mean of -ln p.",
                "return -picked.log().mean()",
            ),
            "()",
        ),
    ),
    inputs=("p", "ids"),
)


def _scores(_: Any) -> SimpleNamespace:
    return SimpleNamespace(x=torch.randn(4, 4).mul(2).requires_grad_())


def _large_scores(_: Any) -> SimpleNamespace:
    """Rows far above and below 0, and one with both: only now does it matter what is subtracted."""
    x = torch.randn(5, 6)
    x[1:3] += torch.tensor([[1000.0], [-1000.0]])
    x[3] *= torch.tensor([-1000.0, 1000, 1, 1, 1, 1]) / x[3]
    return SimpleNamespace(x=x.requires_grad_(), case="scores of 1000 and -1000")


SOFTMAX = Part(
    "softmax",
    (_scores, _large_scores),  # small ones first: without overflow, a wrong dimension shows
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
                "each column's largest score is subtracted, which changes the probabilities: subtract each row's": (
                    lambda s: s.x - s.x.amax(0)
                ),
                "the mean of each row is subtracted: a score far above it overflows. Subtract the largest": lambda s: (
                    s.x - s.x.mean(-1, keepdim=True)
                ),
                "the smallest score of each row is subtracted: subtract the largest": lambda s: (
                    s.x - s.x.amin(-1, keepdim=True)
                ),
                "the largest absolute value is subtracted: in a row far below 0 every exponential is 0, and 0/0 is "
                "NaN": lambda s: s.x - s.x.abs().amax(-1, keepdim=True),
                "large scores are cut off, which makes them equal: subtract the row's largest": lambda s: s.x.clamp(
                    max=50
                ),
                "large and small scores are cut off, which makes them equal: subtract the row's largest": lambda s: (
                    s.x.clamp(-50, 50)
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
                "the base is 10 instead of e": lambda s: 10**s.shifted,
                "a square stands in place of the exponential": lambda s: s.shifted.square(),
                "a sigmoid stands in place of the exponential": lambda s: s.shifted.sigmoid(),
                "the exponential has a minus sign: a larger score must get a larger probability": lambda s: (
                    -s.shifted
                ).exp(),
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
                "all of it adds up to 1, but each row must: the softmax is over the whole tensor": lambda s: (
                    s.x.flatten().softmax(0).view_as(s.x)
                ),
                "the columns add up to 1, but each row must: the softmax is over the wrong dimension": lambda s: (
                    s.x.softmax(0)
                ),
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
                "the exponentials are divided by their number instead of their sum": lambda s: (
                    s.exponentials / s.exponentials.shape[-1]
                ),
                "the exponentials are divided by the sum of the scores: divide by that of the exponentials": lambda s: (
                    s.exponentials / s.x.sum(-1, keepdim=True)
                ),
                "x is transposed: the softmax is over its columns, and the result has columns for rows": lambda s: (
                    (s.exponentials / s.exponentials.sum(0, keepdim=True)).mT
                ),
                "the logarithm of the probabilities is returned": lambda s: (
                    s.exponentials / s.exponentials.sum(-1, keepdim=True)
                ).log(),
                "the softmax is applied twice": lambda s: (
                    s.exponentials / s.exponentials.sum(-1, keepdim=True)
                ).softmax(-1),
            },
            (
                "Each row must add up to 1.",
                "Divide each row by its sum, (N, 1).",
                "return exponentials / exponentials.sum(dim=-1, keepdim=True)",
            ),
            "(N, V)",
        ),
    ),
    standard=lambda x: x.softmax(-1),
)


def _logits(V: int, *targets: int) -> Given:
    return lambda _: SimpleNamespace(
        logits=torch.randn(len(targets), V).requires_grad_(), targets=torch.tensor(targets)
    )


def _unlikely(_: Any) -> SimpleNamespace:
    """Targets whose probability is small, but not 0: only now does it matter what is added to it."""
    logits = torch.tensor([[0.0, 80, 1], [25, 0, -1], [1, 2, 3]])
    case = "a target of the probability 1e-35: p is never 0, so nothing is to be added, and there is no least p"
    return SimpleNamespace(logits=logits.requires_grad_(), targets=torch.tensor([0, 1, 2]), case=case)


CROSS_ENTROPY = Part(
    "cross_entropy",
    (_logits(6, 2, 0, 1, 3, 3), _logits(4, 3, 3, 0, 1, 2, 1, 0), _logits(7, 6), _unlikely),
    (
        Step(
            "p",
            "the probabilities are",
            lambda s: s.logits.softmax(-1),
            {
                "the softmax is over the examples: it must be over the V logits of each": lambda s: s.logits.softmax(0),
                "the softmax is missing: logits are not probabilities": lambda s: s.logits,
                "the softmax is applied twice": lambda s: s.logits.softmax(-1).softmax(-1),
                "a sigmoid stands in place of the softmax": lambda s: s.logits.sigmoid(),
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
                "the next example's target is taken: each row has its own": lambda s: s.p[
                    torch.arange(len(s.targets)), s.targets.roll(-1)
                ],
                "the targets are shifted: targets[n] belongs to row n already": lambda s: s.p[
                    torch.arange(len(s.targets) - 1), s.targets[1:]
                ],
                "all probabilities of a row count: only that of the target does": lambda s: s.p,
                "p[targets] takes rows: take the column targets[n] of row n": lambda s: s.p[s.targets],
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
            {**_LOSSES, **_of_rows(lambda s: s.p, lambda s: s.targets)},
            (
                "The smaller the probability of what came, the larger the loss; a certain and right "
                "prediction costs 0.",
                "The mean of -ln p.",
                "return -picked.log().mean()",
            ),
            "()",
        ),
    ),
    inputs=("logits", "targets"),
)

EXERCISES = (
    Exercise("v1", "a bigram table by counting", "v1", (COUNTS, PROBABILITIES, LOSS)),
    Exercise("softmax", "softmax and the loss", "softmax", (SOFTMAX, CROSS_ENTROPY)),
)
