"""v2, v3 and the gradient of attention."""

from collections.abc import Callable, Mapping
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from exercises.checks.steps import Exercise, Given, MistakeError, Part, Step, Way

_INF = float("inf")


def _triangle(T: int, diagonal: int = 1) -> Tensor:
    """Whether the key (column) comes after the query (row), by `diagonal` positions at least."""
    return torch.ones(T, T, dtype=torch.bool).triu(diagonal)


def _hiding(hidden: Callable[[int], Tensor] = _triangle, score: float = -_INF) -> Way:
    return lambda s: s.scores.masked_fill(hidden(s.scores.shape[-1]), score)


# By what to divide the scores of wrong solutions. D is no 4, because 4 / 2 is a square root, too.
_DIVISORS: Mapping[str, Callable[[SimpleNamespace], float]] = {
    "the scores are not divided by sqrt(D)": lambda _: 1,
    "the scores are multiplied by sqrt(D) instead of divided": lambda s: s.D**-0.5,
    "the scores are divided by D instead of its square root": lambda s: s.D,
    "the scores are divided by D / 2: the square root of D is D**0.5": lambda s: s.D / 2,
    "the scores are divided by 2, which is the square root of D only if D is 4": lambda _: 2,
    "the scores are divided by the square root of C, the size of x: take D, the size of one head's query": (
        lambda s: s.C**0.5
    ),
    "the scores are divided by the square root of T: take D, the size of a query": lambda s: s.T**0.5,
    "the scores are multiplied by D": lambda s: 1 / s.D,
}
_SCORES: Mapping[str, Way] = {
    "the scores are transposed: row t must hold the scores of query t": lambda s: s.k @ s.q.mT,
    "the scores compare the queries with themselves: compare them with the keys": lambda s: s.q @ s.q.mT,
    "the scores compare the keys with themselves: compare the queries with them": lambda s: s.k @ s.k.mT,
    "the scores compare the queries with the values: compare them with the keys": lambda s: s.q @ s.v.mT,
    "the scores compare the values with the keys: compare the queries with them": lambda s: s.v @ s.k.mT,
    "negative scores are set to 0: they must stay as they are": lambda s: (s.q @ s.k.mT).relu(),
    "the absolute value of the scores is taken: negative ones must stay as they are": lambda s: (s.q @ s.k.mT).abs(),
    "queries and keys are normalised: take their dot products as they are": lambda s: (
        nn.functional.normalize(s.q, dim=-1) @ nn.functional.normalize(s.k, dim=-1).mT * s.D**0.5
    ),
    "a view or reshape of k stands in place of the transpose: it cuts the numbers anew, in their order in memory; "
    "transpose(-2, -1) exchanges T and D": lambda s: s.q @ s.k.reshape(s.k.mT.shape),
}
_MASKS: Mapping[str, Way] = {
    "the mask is missing, or not used: row 3 sees column 5, which is the future": lambda s: s.scores,
    "the mask is used in the first window only: it must hide the future in each": lambda s: torch.cat(
        [_hiding()(s)[:1], s.scores[1:]]
    ),
    "the mask is transposed: row 3 sees column 5, which is the future, and not column 1": _hiding(
        lambda T: _triangle(T).mT
    ),
    "the mask is inverted: row 3 sees columns 4 and 5, which are the future, and nothing else": _hiding(
        lambda T: ~_triangle(T)
    ),
    "the mask hides a position from itself: row 3 must see column 3, and row 0 has nothing else to see": _hiding(
        lambda T: _triangle(T, 0)
    ),
    "the mask is off by one: row 3 sees column 4, the very character that it must predict": _hiding(
        lambda T: _triangle(T, 2)
    ),
    "the mask sets the hidden scores to 0: softmax makes exp(0) = 1 of them; only -inf becomes 0": _hiding(score=0.0),
    "the mask hides a position from itself, with a large number instead of -inf: row 3 must see column 3": _hiding(
        lambda T: _triangle(T, 0), -1e9
    ),
    "the mask sets the hidden scores to +inf instead of -inf": _hiding(score=_INF),
    "0 * -inf is NaN, so a triangle of 0 and 1 cannot be multiplied by -inf: use masked_fill": lambda s: (
        s.scores + _triangle(s.T).float() * -_INF
    ),
}
_SOFTMAXES: Mapping[str, Way] = {
    "the softmax is over the wrong dimension: the columns add up to 1, but each row must": lambda s: s.masked.softmax(
        -2
    ),
    "the softmax is over the whole table: each row must add up to 1": lambda s: (
        s.masked.flatten(-2).softmax(-1).view(s.masked.shape)
    ),
    "the softmax is applied twice": lambda s: s.masked.softmax(-1).softmax(-1),
    "the mask comes after the softmax: the rows no longer add up to 1. Hide the scores before it": lambda s: (
        s.scores.softmax(-1).masked_fill(_triangle(s.T), 0)
    ),
    "the mask comes after the softmax, with -inf as a weight: hide the scores before it": lambda s: s.scores.softmax(
        -1
    ).masked_fill(_triangle(s.T), -_INF),
    "the division by sqrt(D) comes after the softmax: divide the scores, before it": lambda s: (
        _hiding()(SimpleNamespace(scores=s.q @ s.k.mT)).softmax(-1) / s.D**0.5
    ),
    "the mask hides a position from itself, so that row 0 has nothing to see: row 3 must see column 3": lambda s: (
        _hiding(lambda T: _triangle(T, 0))(s).softmax(-1).nan_to_num(0.0)
    ),
    "a softmax comes before the mask, and another after it: mask the scores, then take one": lambda s: (
        s.scores.softmax(-1).masked_fill(_triangle(s.T), -_INF).softmax(-1)
    ),
    "the mask is inverted: row 3 sees columns 4 and 5, which are the future, and the last row nothing. (True stands "
    "for what may be seen in an attn_mask.)": lambda s: _hiding(lambda T: ~_triangle(T))(s).softmax(-1).nan_to_num(0.0),
    "the exponentials are not divided by their sum: each row must add up to 1": lambda s: s.masked.exp(),
    "a sigmoid stands in place of the softmax: each row must add up to 1": lambda s: s.masked.sigmoid(),
    "the scores are divided by their sum: softmax takes the exponentials first": lambda s: (
        (visible := s.masked.masked_fill(s.masked.isinf(), 0)) / visible.sum(-1, keepdim=True)
    ),
    "all positions before get the same weight: the scores are not used": lambda s: (
        s.masked.isfinite().float() / s.masked.isfinite().float().sum(-1, keepdim=True)
    ),
    "the best position alone is taken: softmax gives some weight to all": lambda s: torch.nn.functional.one_hot(
        s.masked.argmax(-1), s.T
    ).float(),
    "log_softmax gives the logarithms of the weights: take softmax": lambda s: s.masked.log_softmax(-1),
    "the softmax is missing: scores are not weights": lambda s: s.masked,
}
_SUMS: Mapping[str, Way] = {
    "the weights are transposed before they meet the values": lambda s: s.weights.mT @ s.v,
    "the weights meet the keys: they must meet the values": lambda s: s.weights @ s.k,
    "the weights meet the queries: they must meet the values": lambda s: s.weights @ s.q,
    "the values are added to their own weighted mean: return the mean alone": lambda s: s.weights @ s.v + s.v,
    "the queries are added to the result": lambda s: s.weights @ s.v + s.q,
    "the result has a ReLU, which no attention has": lambda s: (s.weights @ s.v).relu(),
    "each position gets its own value alone: the weights are not used, or hide all others": lambda s: s.v,
}


def _scaled(product: Way) -> Way:
    return lambda s: product(s) / s.D**0.5


def _divided(divisor: Callable[[SimpleNamespace], float]) -> Way:
    return lambda s: s.q @ s.k.mT / divisor(s)


def _projections(module: Any, C: int, size: int, heads: int = 1) -> list[tuple[list[Tensor], ...]]:
    """The weights of queries, keys and values, for each head, in each way to read the learner's layers.

    Accepted are three layers, one for all three, and heads of their own. If their names do not tell which is which, any
    order is accepted. Raises MistakeError if there are others.
    """
    linear = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    if biased := [name for name, layer in linear.items() if layer.bias is not None]:
        raise MistakeError(f"{', '.join(biased)} has a bias: queries, keys and values have none, bias=False")
    weights = [layer.weight for layer in linear.values()]
    total, own = 3 * heads * size, sum(parameter.numel() for parameter in module.parameters())
    if any(w.shape[1] != C for w in weights) or sum(len(w) for w in weights) != total or own != total * C:
        raise MistakeError(
            f"its parameters must be those of linear layers from {C} to {total} channels in all, for the queries, "
            f"keys and values, and no others; it has {', '.join(n for n, _ in module.named_parameters()) or 'none'}"
        )
    if {len(w) for w in weights} not in ({total}, {total // 3}, {3 * size}, {size}):
        raise MistakeError("its linear layers must be one for all, three, or three for each head")
    pieces = [piece for w in weights for piece in w.split(size)]
    names = [name.rpartition(".")[2] for name, w in zip(linear, weights, strict=True) for _ in w.split(size)]
    if set(names) == {"query", "key", "value"}:
        return [
            tuple([p for n, p in zip(names, pieces, strict=True) if n == role] for role in ("query", "key", "value"))
        ]
    by_head = [pieces[i::3] for i in range(3)]  # q, k, v of head 0, then those of head 1
    by_role = [pieces[i * heads : (i + 1) * heads] for i in range(3)]  # all heads' q, then k, then v
    groups = [by_role] if len(linear) == 1 else [by_role, by_head] if len(linear) == 3 else [by_head, by_role]
    return [order for group in groups for order in ([tuple(group)] if names[0] == "qkv" else permutations(group))]


def _randomised(module: Any) -> Any:
    """The module with weights so large that no attention is nearly even."""
    if not isinstance(module, nn.Module):
        raise MistakeError("this must be an nn.Module")
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=1.2 / parameter.shape[-1] ** 0.5)
    return module


def _input(scale: float, *shape: int) -> dict[str, Any]:
    case = {"case": "large scores, which hidden ones must stay far below"} if scale > 1 else {}
    return {"x": (torch.randn(shape) * scale).requires_grad_(), **case}


def _head(B: int, T: int, C: int, D: int, scale: float = 1) -> Given:
    def given(answer: Any) -> SimpleNamespace:
        module, x = _randomised(answer(C, D)), (inputs := _input(scale, B, T, C))["x"]
        found = [
            dict(zip("qkv", (x @ torch.cat(w).mT for w in weights), strict=True))
            for weights in _projections(module, C, D)
        ]
        return SimpleNamespace(**inputs, module=module, T=T, C=C, D=D, readings=found)

    return given


HEAD = Part(
    "Head",
    (_head(2, 6, 15, 7), _head(3, 9, 6, 16), _head(1, 1, 5, 3), _head(2, 6, 15, 7, 3)),
    (
        Step(
            "scores",
            "the scores are",
            _divided(lambda s: s.D**0.5),
            {
                **{said: _divided(divisor) for said, divisor in _DIVISORS.items()},
                **{said: _scaled(product) for said, product in _SCORES.items()},
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
            _hiding(),
            _MASKS,
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
            _SOFTMAXES,
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
                **_SUMS,
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


def _heads(B: int, T: int, H: int, D: int, scale: float = 1) -> Given:
    def given(answer: Any) -> SimpleNamespace:
        C = H * D
        module, x = _randomised(answer(C, H)), (inputs := _input(scale, B, T, C))["x"]
        found = [
            {"qkv": x @ torch.cat([w for role in roles for w in role]).mT} for roles in _projections(module, C, D, H)
        ]
        return SimpleNamespace(**inputs, module=module, B=B, T=T, C=C, D=D, H=H, readings=found)

    return given


def _attention(name: str = "", way: Way | None = None) -> Way:
    """softmax(q k^T / sqrt(D)) v of each head, or with another way to compute one of its values."""
    ways: dict[str, Way] = {
        "scores": _divided(lambda s: s.D**0.5),
        "masked": _hiding(),
        "weights": lambda s: s.masked.softmax(-1),
        "read": lambda s: s.weights @ s.v,
    }
    if way is not None:
        ways[name] = way

    def read(s: SimpleNamespace) -> Tensor:
        values = SimpleNamespace(**vars(s) | dict(zip("qkv", s.heads, strict=True)))
        for each, compute in ways.items():
            setattr(values, each, compute(values))
        return values.read

    return read


HEADS = Part(
    "MultiHeadAttention",
    (_heads(2, 6, 3, 7), _heads(3, 8, 2, 16), _heads(1, 1, 4, 3), _heads(2, 6, 3, 7, 3)),
    (
        Step(
            "heads",
            "the division into heads is",
            lambda s: s.qkv.view(s.B, s.T, 3, s.H, s.D).permute(2, 0, 3, 1, 4),
            {
                "the heads are mixed by a wrong view: it cuts the numbers in their order in memory, so that a head "
                "gets whole positions instead of its channels of each. View as (B, T, 3, H, D), then "
                "permute": lambda s: s.qkv.reshape(3, s.B, s.H, s.T, s.D),
                "the heads are mixed by a wrong view: after the division into q, k and v, view each as (B, T, H, D) "
                "and exchange T and H; (B, H, T, D) at once mixes positions and channels": lambda s: torch.stack(
                    [part.reshape(s.B, s.H, s.T, s.D) for part in s.qkv.chunk(3, dim=-1)]
                ),
                "the heads are mixed by a wrong view: 3 comes first in it, but in memory the positions do. View as "
                "(B, T, 3, H, D), then permute": lambda s: s.qkv.reshape(3, s.B, s.T, s.H, s.D).transpose(2, 3),
                "the three groups are mixed: of the 3C channels, the first C are the queries of all heads, so 3 comes "
                "before H in the view": lambda s: s.qkv.view(s.B, s.T, s.H, 3, s.D).permute(3, 0, 2, 1, 4),
                "T and H are not exchanged, so that the heads of one position attend to each other: "
                "permute so that T and D come last": lambda s: s.qkv.view(s.B, s.T, 3, s.H, s.D).permute(2, 0, 1, 3, 4),
                "each head takes every H-th channel: it must take D neighbours, so H comes before D in the view": (
                    lambda s: s.qkv.view(s.B, s.T, 3, s.D, s.H).permute(2, 0, 4, 1, 3)
                ),
                "queries and keys are exchanged, so the scores are transposed: the first C channels are the queries, "
                "then keys, then values": (
                    lambda s: s.qkv.view(s.B, s.T, 3, s.H, s.D).permute(2, 0, 3, 1, 4)[[1, 0, 2]]
                ),
                "keys and values are exchanged: the first C channels are the queries, then keys, then values": (
                    lambda s: s.qkv.view(s.B, s.T, 3, s.H, s.D).permute(2, 0, 3, 1, 4)[[0, 2, 1]]
                ),
                "queries and values are exchanged: the first C channels are the queries, then keys, then values": (
                    lambda s: s.qkv.view(s.B, s.T, 3, s.H, s.D).permute(2, 0, 3, 1, 4)[[2, 1, 0]]
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
            _attention(),
            {
                **{said: _attention("scores", _divided(divisor)) for said, divisor in _DIVISORS.items()},
                "the scores are divided by sqrt(H): take D, the size of a head": _attention(
                    "scores", _divided(lambda s: s.H**0.5)
                ),
                **{said: _attention("scores", _scaled(product)) for said, product in list(_SCORES.items())[1:]},
                **{said: _attention("masked", way) for said, way in _MASKS.items()},
                **{said: _attention("weights", way) for said, way in _SOFTMAXES.items()},
                **{said: _attention("read", way) for said, way in _SUMS.items()},
                "the softmax is over the heads: each head must have weights of its own": _attention(
                    "weights", lambda s: s.masked.softmax(1)
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
            lambda s: s.read.transpose(1, 2).reshape(s.B, s.T, s.C),
            {
                "the heads are joined without exchanging H and T first: a position gets the outputs of other "
                "positions": lambda s: s.read.reshape(s.B, s.T, s.C),
                "the channels of the heads are interleaved: those of head 0 must come first, then those of head 1": (
                    lambda s: s.read.permute(0, 2, 3, 1).reshape(s.B, s.T, s.C)
                ),
                "there is a single head: divide the C channels among H heads": lambda s: _attention()(
                    SimpleNamespace(T=s.T, D=s.C, heads=s.qkv.chunk(3, dim=-1))
                ),
                "the heads are added up: place them side by side": lambda s: s.read.sum(1),
                "the mean of the heads is taken: place them side by side": lambda s: s.read.mean(1),
                "the mean of the heads is repeated: place them side by side": lambda s: s.read.mean(1).repeat(
                    1, 1, s.H
                ),
                "the sum of the heads is repeated: place them side by side": lambda s: s.read.sum(1).repeat(1, 1, s.H),
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


def _backward(B: int, T: int, D: int) -> Given:
    def given(_: Any) -> SimpleNamespace:
        q, k, v, d_output = (torch.randn(B, T, D) for _ in range(4))
        weights = (q @ k.mT / D**0.5).masked_fill(_triangle(T), -_INF).softmax(-1)
        return SimpleNamespace(q=q, k=k, v=v, weights=weights, d_output=d_output, D=D)

    return given


def _ordered(order: str) -> Way:
    return lambda s: tuple(getattr(s, f"d_{name}") for name in order)


def _of_scores(
    name: str, one: str, others: str, right: Way, transposed: Way, itself: Way, hints: tuple[str, ...]
) -> Step:
    """The step from the gradient of the scores to that of q or of k."""
    said, turned = f"the gradient of {name}", _scaled(transposed)
    return Step(
        f"d_{name}",
        f"{said} is",
        _scaled(right),
        {
            f"{said} lacks the division by sqrt(D)": right,
            f"{said} is divided by D instead of its square root": lambda s: right(s) / s.D,
            f"{said} is multiplied by sqrt(D) instead of divided": lambda s: right(s) * s.D**0.5,
            f"{said} needs the other d_scores, transposed or not: each {one} meets the {others}": turned,
            f"{said} meets {name}: each {one} meets the {others}": _scaled(itself),
            f"{said} is that of {'k' if name == 'q' else 'q'}: each {one} meets the {others}": _scaled(
                (lambda s: s.d_scores.mT @ s.q) if name == "q" else (lambda s: s.d_scores @ s.k)
            ),
        },
        hints,
        "(B, T, D)",
    )


BACKWARD = Part(
    "attention_backward",
    (_backward(2, 6, 7), _backward(3, 5, 16), _backward(1, 1, 3)),
    (
        Step(
            "d_v",
            "the gradient of v is",
            lambda s: s.weights.mT @ s.d_output,
            {
                "the gradient of v needs the weights transposed: value j collects from all rows that look at it": (
                    lambda s: s.weights @ s.d_output
                ),
                "the gradient of v is the weights times v: it must collect the gradients of the output": lambda s: (
                    s.weights.mT @ s.v
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
                "the gradient of the weights needs v, not q": lambda s: s.d_output @ s.q.mT,
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
                "the gradient of the softmax has a diagonal of 0: a position sees itself, so its own score counts": (
                    lambda s: (s.weights * (s.d_weights - (s.weights * s.d_weights).sum(-1, keepdim=True))).tril(-1)
                ),
                "the gradient of the softmax lacks the factor weights": lambda s: (
                    s.d_weights - (s.weights * s.d_weights).sum(-1, keepdim=True)
                ),
                "the gradient of the softmax subtracts the sum of d_weights: the sum must be weighted by the weights": (
                    lambda s: s.weights * (s.d_weights - s.d_weights.sum(-1, keepdim=True))
                ),
                "the gradient of the softmax adds the row's weighted sum: subtract it": lambda s: (
                    s.weights * (s.d_weights + (s.weights * s.d_weights).sum(-1, keepdim=True))
                ),
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
        _of_scores(
            "q",
            "query",
            "keys",
            lambda s: s.d_scores @ s.k,
            lambda s: s.d_scores.mT @ s.k,
            lambda s: s.d_scores @ s.q,
            (
                "scores = q @ k^T / sqrt(D): query i meets all keys j in row i.",
                "The gradient of the first factor of Y = A B^T is dY B. The division applies to the gradient, too.",
                "d_q = d_scores @ k / D**0.5",
            ),
        ),
        _of_scores(
            "k",
            "key",
            "queries",
            lambda s: s.d_scores.mT @ s.q,
            lambda s: s.d_scores @ s.q,
            lambda s: s.d_scores.mT @ s.k,
            (
                "Key j meets all queries i in column j.",
                "The gradient of the second factor of Y = A B^T is dY^T A.",
                "d_k = d_scores.transpose(-2, -1) @ q / D**0.5",
            ),
        ),
        Step(
            "output",
            "the order is",
            lambda s: (s.d_q, s.d_k, s.d_v),
            {
                f"the gradients are returned in the wrong order, {', '.join(order)}: the order is q, k, v": _ordered(
                    order
                )
                for order in ("vkq", "kqv", "qvk", "vqk", "kvq")
            },
            ("Return three gradients.", "In the order of the arguments.", "return d_q, d_k, d_v"),
        ),
    ),
    inputs=("q", "k", "v", "weights", "d_output"),
    outputs=("d_q", "d_k", "d_v"),
)

EXERCISES = (
    Exercise("v2", "one attention head", "v2", (HEAD,), stage="v2"),
    Exercise("v3", "several heads in one tensor", "v3", (HEADS,), stage="v3"),
)
BACKWARD_EXERCISE = Exercise("backward", "backpropagation through attention, by hand", "without_torch", (BACKWARD,))
