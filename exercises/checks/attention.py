"""v2, v3 and the gradient of attention."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from exercises.checks.steps import Exercise, Part, Step, Way

_B, _T, _C, _D = 2, 6, 8, 4
_H = _C // _D
_INF = float("inf")


def _future(T: int) -> Tensor:
    """Whether the key (column) comes after the query (row)."""
    return torch.ones(T, T, dtype=torch.bool).triu(1)


def _hiding(hidden: Callable[[int], Tensor], score: float = -_INF) -> Way:
    return lambda s: s.scores.masked_fill(hidden(s.scores.shape[-1]), score)


def _head(answer: Any) -> SimpleNamespace:
    module, x = answer(_C, _D), torch.randn(_B, _T, _C)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.6)  # so that no weights are nearly equal
    return SimpleNamespace(module=module, x=x, q=module.query(x), k=module.key(x), v=module.value(x))


def _forward(_: Any, s: SimpleNamespace) -> Any:
    return s.module(s.x.clone())


HEAD = Part(
    "Head",
    _head,
    _forward,
    (
        Step(
            "scores",
            "the scores are",
            lambda s: s.q @ s.k.mT / math.sqrt(_D),
            {
                "the scores are not divided by sqrt(D)": lambda s: s.q @ s.k.mT,
                "the scores are multiplied by sqrt(D) instead of divided": lambda s: s.q @ s.k.mT * math.sqrt(_D),
                "the scores are divided by D instead of its square root": lambda s: s.q @ s.k.mT / _D,
                "the scores are divided by the square root of C, the size of x: take D, the size of a query": (
                    lambda s: s.q @ s.k.mT / math.sqrt(_C)
                ),
                "the scores are divided by the square root of T: take D, the size of a query": lambda s: (
                    s.q @ s.k.mT / math.sqrt(_T)
                ),
                "the scores are transposed: row t must hold the scores of query t": lambda s: (
                    s.k @ s.q.mT / math.sqrt(_D)
                ),
                "the scores compare the queries with themselves: compare them with the keys": lambda s: (
                    s.q @ s.q.mT / math.sqrt(_D)
                ),
            },
            (
                "A score says how well the query of one position matches the key of another: their dot product. "
                "Every query meets every key, so there are T x T scores per window.",
                "All dot products at once are the matrix product q k^T, which transposes the last two dimensions of "
                "k: (B, T, D) @ (B, D, T) -> (B, T, T). Divide by the square root of D, so that the scores do not "
                "grow with the size of the vectors.",
                "scores = q @ k.transpose(-2, -1) / D**0.5",
            ),
            "(B, T, T)",
        ),
        Step(
            "masked",
            "the mask is",
            _hiding(_future),
            {
                "the mask is missing, or not used: row 3 sees column 5, which is the future": lambda s: s.scores,
                "the mask is transposed: row 3 sees column 5, which is the future, and not column 1": _hiding(
                    lambda T: _future(T).mT
                ),
                "the mask is inverted: row 3 sees columns 4 and 5, which are the future, and nothing else": _hiding(
                    lambda T: ~_future(T)
                ),
                "the mask hides a position from itself: row 3 must see column 3, and row 0 has nothing else to see": (
                    _hiding(lambda T: torch.ones(T, T, dtype=torch.bool).triu(0))
                ),
                "the mask is off by one: row 3 sees column 4, the very character that it must predict": _hiding(
                    lambda T: torch.ones(T, T, dtype=torch.bool).triu(2)
                ),
                "the mask sets the hidden scores to 0: softmax makes exp(0) = 1 of them; only -inf becomes 0": _hiding(
                    _future, 0.0
                ),
                "the mask sets the hidden scores to +inf instead of -inf": _hiding(_future, _INF),
            },
            (
                "Row t holds the scores of the character at position t. It may look at itself and at what came "
                "before, columns 0 to t. What must the other scores be, so that softmax gives them the weight 0?",
                "exp(-inf) is 0. The columns to hide, j > t, are a triangle above the diagonal: "
                "torch.ones(T, T, dtype=torch.bool).triu(diagonal=1) is True there and False elsewhere, and "
                "scores.masked_fill(where, number) puts a number wherever `where` is True.",
                "future = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)\n"
                'masked = scores.masked_fill(future, float("-inf"))',
            ),
            "(B, T, T)",
        ),
        Step(
            "weights",
            "the softmax is",
            lambda s: s.masked.softmax(-1),
            {
                "the softmax is over the wrong dimension: the columns add up to 1, but each row must": lambda s: (
                    s.masked.softmax(-2)
                ),
                "the softmax is over the windows of the batch: it must be over the columns of each row": lambda s: (
                    s.masked.softmax(0)
                ),
                "the mask comes after the softmax: the rows no longer add up to 1. Hide the scores before "
                "it": lambda s: s.scores.softmax(-1).masked_fill(_future(_T), 0),
                "the mask comes after the softmax, with -inf as a weight: hide the scores before it": lambda s: (
                    s.scores.softmax(-1).masked_fill(_future(_T), -_INF)
                ),
                "the division by sqrt(D) comes after the softmax: divide the scores, before it": lambda s: (
                    _hiding(_future)(SimpleNamespace(scores=s.q @ s.k.mT)).softmax(-1) / math.sqrt(_D)
                ),
                "the exponentials are not divided by their sum: each row must add up to 1": lambda s: s.masked.exp(),
                "log_softmax gives the logarithms of the weights: take softmax": lambda s: s.masked.log_softmax(-1),
                "the softmax is missing: scores are not weights": lambda s: s.masked,
            },
            (
                "The scores of a row must become weights that are positive and add up to 1.",
                "Softmax does that. Over which dimension? A row's entries lie along the last one.",
                "weights = masked.softmax(dim=-1)",
            ),
            "(B, T, T)",
        ),
        Step(
            "output",
            "the result is",
            lambda s: s.weights @ s.v,
            {
                "the weights are transposed before they meet the values": lambda s: s.weights.mT @ s.v,
                "the weights meet the keys: they must meet the values": lambda s: s.weights @ s.k,
                "the weights meet the queries: they must meet the values": lambda s: s.weights @ s.q,
                "the weights meet x itself: they must meet the values": lambda s: s.weights @ s.x,
                "the values are not used: the weights are returned": lambda s: s.weights,
            },
            (
                "Each position takes the mean of the values of the positions that it sees, with its row as weights.",
                "A weighted sum for every row at once is a matrix product: (B, T, T) @ (B, T, D) -> (B, T, D).",
                "return weights @ v",
            ),
            "(B, T, D)",
        ),
    ),
)


def _heads(answer: Any) -> SimpleNamespace:
    module, x = answer(_C, _H), torch.randn(_B, _T, _C)
    torch.nn.init.normal_(module.qkv.weight, std=0.6)
    return SimpleNamespace(module=module, x=x, qkv=module.qkv(x))


def _attention(
    s: SimpleNamespace, scale: float = _D**-0.5, dim: int = -1, hidden: Callable[[int], Tensor] = _future
) -> Tensor:
    """softmax(q k^T scale) v of each head."""
    q, k, v = s.heads
    scores = (q @ k.mT * scale).masked_fill(hidden(q.shape[-2]), -_INF)
    return scores.softmax(dim) @ v


HEADS = Part(
    "MultiHeadAttention",
    _heads,
    _forward,
    (
        Step(
            "heads",
            "the division into heads is",
            lambda s: s.qkv.view(_B, _T, 3, _H, _D).permute(2, 0, 3, 1, 4),
            {
                "the heads are mixed by a wrong view: it cuts the numbers in their order in memory, so that a head "
                "gets whole positions instead of its channels of each. View as (B, T, 3, H, D), then "
                "permute": lambda s: s.qkv.reshape(3, _B, _H, _T, _D),
                "the heads are mixed by a wrong view: after the division into q, k and v, view each as (B, T, H, D) "
                "and exchange T and H; (B, H, T, D) at once mixes positions and channels": lambda s: torch.stack(
                    [part.reshape(_B, _H, _T, _D) for part in s.qkv.chunk(3, dim=-1)]
                ),
                "the three groups are mixed: of the 3C channels, the first C are the queries of all heads, so 3 comes "
                "before H in the view": lambda s: s.qkv.view(_B, _T, _H, 3, _D).permute(3, 0, 2, 1, 4),
                "T and H are not exchanged, so that the heads of one position attend to each other: "
                "permute so that T and D come last": lambda s: s.qkv.view(_B, _T, 3, _H, _D).permute(2, 0, 1, 3, 4),
                "each head takes every H-th channel: it must take D neighbours, so H comes before D in the view": (
                    lambda s: s.qkv.view(_B, _T, 3, _D, _H).permute(2, 0, 4, 1, 3)
                ),
                "the order of q, k and v is wrong: the first C channels are the queries, then keys, then values": (
                    lambda s: s.qkv.view(_B, _T, 3, _H, _D).permute(2, 0, 3, 1, 4)[[1, 0, 2]]
                ),
                "keys and values are exchanged: the first C channels are the queries, then keys, then values": (
                    lambda s: s.qkv.view(_B, _T, 3, _H, _D).permute(2, 0, 3, 1, 4)[[0, 2, 1]]
                ),
                "queries and values are exchanged: the first C channels are the queries, then keys, then values": (
                    lambda s: s.qkv.view(_B, _T, 3, _H, _D).permute(2, 0, 3, 1, 4)[[2, 1, 0]]
                ),
            },
            (
                "The last dimension of qkv holds 3C numbers: the queries of all heads, then the keys, then the values, "
                "and each of them is H groups of D. Give every group a dimension of its own.",
                "view(B, T, 3, H, D) cuts the last dimension without moving a number; permute then brings the five "
                "dimensions into the order (3, B, H, T, D), so that T and D are last, as in v2.",
                "heads = qkv.view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)",
            ),
            "(3, B, H, T, D)",
        ),
        Step(
            "read",
            "the attention of each head is",
            _attention,
            {
                "the scores are not divided by sqrt(D)": lambda s: _attention(s, 1),
                "the scores are divided by the square root of C: take D, the size of one head's query": lambda s: (
                    _attention(s, _C**-0.5)
                ),
                "the scores are divided by D instead of its square root": lambda s: _attention(s, 1 / _D),
                "the softmax is over the wrong dimension: the columns add up to 1, but each row must": lambda s: (
                    _attention(s, dim=-2)
                ),
                "the softmax is over the heads: each head must have weights of its own": lambda s: _attention(s, dim=1),
                "the mask is missing, or not used: row 3 sees column 5, which is the future": lambda s: _attention(
                    s, hidden=lambda T: torch.zeros(T, T, dtype=torch.bool)
                ),
                "the mask is transposed: row 3 sees column 5, which is the future, and not column 1": lambda s: (
                    _attention(s, hidden=lambda T: _future(T).mT)
                ),
                "the mask is inverted: row 3 sees columns 4 and 5, which are the future, and nothing else": lambda s: (
                    _attention(s, hidden=lambda T: ~_future(T))
                ),
                "the mask comes after the softmax: the rows no longer add up to 1. Hide the scores before "
                "it": lambda s: (
                    (s.heads[0] @ s.heads[1].mT * _D**-0.5).softmax(-1).masked_fill(_future(_T), 0) @ s.heads[2]
                ),
            },
            (
                "Each head does what v2 does. The formula needs no change: a matrix product leaves all but the last "
                "two dimensions alone.",
                "softmax(q k^T / sqrt(D), masked) v, with q, k, v of shape (B, H, T, D).",
                "scores = q @ k.transpose(-2, -1) / D**0.5\n"
                'scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))\n'
                "read = scores.softmax(dim=-1) @ v",
            ),
            "(B, H, T, D)",
        ),
        Step(
            "output",
            "the concatenation is",
            lambda s: s.read.transpose(1, 2).reshape(_B, _T, _C),
            {
                "the heads are joined without exchanging H and T first: a position gets the outputs of other "
                "positions": lambda s: s.read.reshape(_B, _T, _C),
                "the channels of the heads are interleaved: those of head 0 must come first, then those of head 1": (
                    lambda s: s.read.permute(0, 2, 3, 1).reshape(_B, _T, _C)
                ),
                "the heads are added up: place them side by side": lambda s: s.read.sum(1),
                "the mean of the heads is taken: place them side by side": lambda s: s.read.mean(1),
            },
            (
                "Each position has H outputs of D numbers. Side by side, they are C numbers.",
                "Bring H next to D, (B, T, H, D), and join the two dimensions.",
                "return read.transpose(1, 2).reshape(B, T, C)",
            ),
            "(B, T, C)",
        ),
    ),
)


def _backward(_: Any) -> SimpleNamespace:
    q, k, v, d_output = (torch.randn(_B, _T, _D) for _ in range(4))
    weights = (q @ k.mT / math.sqrt(_D)).masked_fill(_future(_T), -_INF).softmax(-1)
    return SimpleNamespace(q=q, k=k, v=v, weights=weights, d_output=d_output)


BACKWARD = Part(
    "attention_backward",
    _backward,
    lambda answer, s: answer(*(x.clone() for x in (s.q, s.k, s.v, s.weights, s.d_output))),
    (
        Step(
            "d_v",
            "the gradient of v is",
            lambda s: s.weights.mT @ s.d_output,
            {
                "the gradient of v needs the weights transposed: value j collects from all rows that look at it": (
                    lambda s: s.weights @ s.d_output
                ),
                "the gradient of v is that of the output: the weights are missing": lambda s: s.d_output,
            },
            (
                "output = weights @ v. Value j is in output i with the factor weights[i, j], so its gradient collects "
                "d_output[i] with this factor from all rows i.",
                "The gradient of the second factor of Y = A B is A^T dY.",
                "d_v = weights.transpose(-2, -1) @ d_output",
            ),
            "(B, T, D)",
        ),
        Step(
            "d_weights",
            "the gradient of the weights is",
            lambda s: s.d_output @ s.v.mT,
            {
                "the gradient of the weights is transposed": lambda s: s.v @ s.d_output.mT,
                "the gradient of the weights needs v, not k": lambda s: s.d_output @ s.k.mT,
            },
            (
                "Weight (i, j) is the factor of value j in output i: if it grows, output i moves along value j.",
                "The gradient of the first factor of Y = A B is dY B^T.",
                "d_weights = d_output @ v.transpose(-2, -1)",
            ),
            "(B, T, T)",
        ),
        Step(
            "d_scores",
            "the gradient of the softmax is",
            lambda s: s.weights * (s.d_weights - (s.weights * s.d_weights).sum(-1, keepdim=True)),
            {
                "the gradient of the softmax lacks the part that all scores of a row share: if one weight grows, the "
                "others shrink. Subtract the row's sum of weights * d_weights": lambda s: s.weights * s.d_weights,
                "the gradient of the softmax has the diagonal of its matrix only, w (1 - w): a score also changes the "
                "other weights of its row": lambda s: s.weights * (1 - s.weights) * s.d_weights,
                "the gradient of the softmax lacks the diagonal: a score changes its own weight, too": lambda s: (
                    s.weights * (s.weights * s.d_weights - (s.weights * s.d_weights).sum(-1, keepdim=True))
                ),
                "the gradient of the softmax sums over the wrong dimension: a softmax belongs to a row": lambda s: (
                    s.weights * (s.d_weights - (s.weights * s.d_weights).sum(-2, keepdim=True))
                ),
                "the gradient of the softmax subtracts the mean of d_weights: the mean must be weighted by the "
                "weights": lambda s: s.weights * (s.d_weights - s.d_weights.mean(-1, keepdim=True)),
                "the gradient of the softmax is passed on as it came: the softmax is skipped": lambda s: s.d_weights,
            },
            (
                "If score j grows, weight j grows and the other weights of the row shrink, because they add up to 1. "
                "The derivative of weight i by score j is w_i ([i = j] - w_j).",
                "Summed over i, the gradient of score j is w_j (d_weights_j - sum_i w_i d_weights_i): of each entry, "
                "subtract the row's weighted mean.",
                "mean = (weights * d_weights).sum(dim=-1, keepdim=True)\nd_scores = weights * (d_weights - mean)",
            ),
            "(B, T, T)",
        ),
        Step(
            "d_q",
            "the gradient of q is",
            lambda s: s.d_scores @ s.k / math.sqrt(_D),
            {
                "the gradient of q lacks the division by sqrt(D)": lambda s: s.d_scores @ s.k,
                "the gradient of q is that of k: each query meets the keys": lambda s: (
                    s.d_scores.mT @ s.q / math.sqrt(_D)
                ),
            },
            (
                "scores = q @ k^T / sqrt(D): query i meets all keys j in row i.",
                "The gradient of the first factor of Y = A B^T is dY B. The division applies to the gradient, too.",
                "d_q = d_scores @ k / D**0.5",
            ),
            "(B, T, D)",
        ),
        Step(
            "d_k",
            "the gradient of k is",
            lambda s: s.d_scores.mT @ s.q / math.sqrt(_D),
            {
                "the gradient of k lacks the division by sqrt(D)": lambda s: s.d_scores.mT @ s.q,
                "the gradient of k needs d_scores transposed: key j is in column j": lambda s: (
                    s.d_scores @ s.q / math.sqrt(_D)
                ),
            },
            (
                "Key j meets all queries i in column j.",
                "The gradient of the second factor of Y = A B^T is dY^T A.",
                "d_k = d_scores.transpose(-2, -1) @ q / D**0.5",
            ),
            "(B, T, D)",
        ),
        Step(
            "output",
            "the order is",
            lambda s: (s.d_q, s.d_k, s.d_v),
            {"the gradients are returned in the wrong order: q, k, v": lambda s: (s.d_v, s.d_k, s.d_q)},
            ("Return three gradients.", "In the order of the arguments.", "return d_q, d_k, d_v"),
        ),
    ),
    outputs=("d_q", "d_k", "d_v"),
)

EXERCISES = (
    Exercise("v2", "one attention head", "v2", (HEAD,), stage="v2"),
    Exercise("v3", "several heads in one tensor", "v3", (HEADS,), stage="v3"),
)
BACKWARD_EXERCISE = Exercise("backward", "backpropagation through attention, by hand", "v2", (BACKWARD,))
