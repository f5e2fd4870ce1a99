"""v4 to v7: a block, residual connections, LayerNorm, dropout."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from exercises.checks.steps import Exercise, Part, Step
from gpt.models import v3_feed_forward

_B, _T, _C, _H = 2, 6, 8, 2
_EPS = 1e-5


def _module(module: nn.Module) -> SimpleNamespace:
    """A module with weights that are not small, and an input for it."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.6)
    return SimpleNamespace(module=module, x=torch.randn(_B, _T, _C))


def _forward(_: Any, s: SimpleNamespace) -> Any:
    return s.module(s.x.clone())


FEED_FORWARD = Part(
    "FeedForward",
    lambda answer: _module(answer(_C)),
    _forward,
    (
        Step(
            "hidden",
            "the linear layer is",
            lambda s: s.module.linear(s.x),
            {
                "the linear layer is not used": lambda s: s.x,
                "the bias of the linear layer is missing": lambda s: s.x @ s.module.linear.weight.T,
                "the ReLU comes before the linear layer instead of after it": lambda s: s.module.linear(s.x.relu()),
            },
            (
                "The constructor has made a linear layer. Apply it to x.",
                "A layer is called like a function; it works on the last dimension and leaves the others alone.",
                "hidden = self.linear(x)",
            ),
            "(B, T, C)",
        ),
        Step(
            "output",
            "the ReLU is",
            lambda s: s.hidden.relu(),
            {
                "the ReLU is missing: without it, this layer and the next linear one together are a single linear "
                "layer": lambda s: s.hidden,
                "the activation is a sigmoid instead of a ReLU": lambda s: s.hidden.sigmoid(),
                "the activation is tanh instead of a ReLU": lambda s: s.hidden.tanh(),
                "the activation is GELU instead of a ReLU": lambda s: gelu(s.hidden),
                "the ReLU is inverted: it must set what is negative to 0": lambda s: s.hidden.clamp(max=0),
            },
            (
                "A second linear layer after the first adds nothing, unless something non-linear lies between.",
                "ReLU sets what is negative to 0 and leaves the rest.",
                "return hidden.relu()",
            ),
            "(B, T, C)",
        ),
    ),
)


def _stacked(answer: Any) -> SimpleNamespace:
    module = answer(_C, _H)
    module.feed_forward = v3_feed_forward.FeedForward(_C)  # right, whatever the learner's own is
    return _module(module)


STACKED = Part(
    "Block",
    _stacked,
    _forward,
    (
        Step(
            "attended",
            "the attention is",
            lambda s: s.module.attention(s.x),
            {
                "the attention is not used": lambda s: s.x,
                "the feed-forward layer comes before the attention": lambda s: s.module.attention(
                    s.module.feed_forward(s.x)
                ),
                "x is added to the attention: that idea comes with v5": lambda s: s.x + s.module.attention(s.x),
            },
            (
                "First collect, then compute: which layer collects from other positions?",
                "Apply self.attention to x.",
                "attended = self.attention(x)",
            ),
            "(B, T, C)",
        ),
        Step(
            "output",
            "the feed-forward layer is",
            lambda s: s.module.feed_forward(s.attended),
            {
                "the feed-forward layer is not used": lambda s: s.attended,
                "the feed-forward layer reads x: it must read what the attention collected": lambda s: (
                    s.module.feed_forward(s.x)
                ),
                "the feed-forward layer reads x, beside the attention: it must come after it": lambda s: (
                    s.attended + s.module.feed_forward(s.x)
                ),
                "the feed-forward layer's input is added: that idea comes with v5": lambda s: (
                    s.attended + s.module.feed_forward(s.attended)
                ),
            },
            (
                "The second layer computes with what the first has collected.",
                "Apply self.feed_forward to the attention's output.",
                "return self.feed_forward(attended)",
            ),
            "(B, T, C)",
        ),
    ),
)

RESIDUAL = Part(
    "Block",
    lambda answer: _module(answer(_C, _H)),
    _forward,
    (
        Step(
            "attended",
            "the first sum is",
            lambda s: s.x + s.module.attention(s.x),
            {
                "the first residual connection is missing: the attention must add to x, not replace it": lambda s: (
                    s.module.attention(s.x)
                ),
                "the attention is missing": lambda s: s.x,
                "x is multiplied by the attention: add them": lambda s: s.x * s.module.attention(s.x),
                "x is added twice": lambda s: 2 * s.x + s.module.attention(s.x),
            },
            (
                "In v4, x was replaced by the output of the attention. Here nothing that x holds may be lost.",
                "Add the output of the attention to its input.",
                "attended = x + self.attention(x)",
            ),
            "(B, T, C)",
        ),
        Step(
            "output",
            "the second sum is",
            lambda s: s.attended + s.module.feed_forward(s.attended),
            {
                "the second residual connection is missing: the feed-forward layer must add to its input": lambda s: (
                    s.module.feed_forward(s.attended)
                ),
                "the second sum begins with the block's input: it must begin with the first sum, or what the "
                "attention added is lost": lambda s: s.x + s.module.feed_forward(s.attended),
                "the feed-forward layer reads the block's input: it must read the first sum": lambda s: (
                    s.attended + s.module.feed_forward(s.x)
                ),
                "the block's input is added a second time": lambda s: (
                    s.x + s.attended + s.module.feed_forward(s.attended)
                ),
                "the feed-forward layer is missing": lambda s: s.attended,
            },
            (
                "The same idea once more, for the feed-forward layer.",
                "Its input is the first sum, and its output is added to that same sum.",
                "return attended + self.feed_forward(attended)",
            ),
            "(B, T, C)",
        ),
    ),
)


def _norm(answer: Any) -> SimpleNamespace:
    given = _module(answer(_C))
    given.x[0, 0] = 3.0  # a token with equal channels, whose variance is 0
    given.x[0, 1] *= 0.01
    return given


def _variance(s: SimpleNamespace, correction: int = 0, dim: int | tuple[int, ...] = -1) -> Tensor:
    return s.x.var(dim, correction=correction, keepdim=True)


LAYER_NORM = Part(
    "LayerNorm",
    _norm,
    _forward,
    (
        Step(
            "mean",
            "the mean is",
            lambda s: s.x.mean(-1, keepdim=True),
            {
                "the mean is over the batch: it must be over the channels of each token, the last "
                "dimension": lambda s: s.x.mean(0, keepdim=True),
                "the mean is over the time: it must be over the channels of each token, the last dimension": lambda s: (
                    s.x.mean(1, keepdim=True)
                ),
                "the mean is over all tokens: each token must have its own": lambda s: s.x.mean(),
                "the mean is over time and channels: each token must have its own": lambda s: s.x.mean(
                    (1, 2), keepdim=True
                ),
                "the mean is not subtracted": lambda _: torch.zeros(()),
            },
            (
                "Each token is normalised by itself: C numbers, one mean.",
                "The channels are the last dimension. keepdim=True gives (B, T, 1), which can be subtracted from x.",
                "mean = x.mean(dim=-1, keepdim=True)",
            ),
            "(B, T, 1)",
        ),
        Step(
            "variance",
            "the variance is",
            _variance,
            {
                "the variance is the unbiased one, divided by C - 1: LayerNorm divides by C "
                "(unbiased=False)": lambda s: _variance(s, 1),
                "the variance is over the batch: it must be over the channels of each token": lambda s: _variance(
                    s, dim=0
                ),
                "the variance is over the batch, and divided by B - 1": lambda s: _variance(s, 1, dim=0),
                "the variance is over the time: it must be over the channels of each token": lambda s: _variance(
                    s, dim=1
                ),
                "the variance is over all tokens: each token must have its own": lambda s: _variance(s, dim=(0, 1, 2)),
                "the standard deviation stands in place of the variance, and its root is taken again": lambda s: (
                    _variance(s).sqrt()
                ),
            },
            (
                "The variance is the mean of the squared distances from the mean, of each token's channels.",
                "Divide by C, not by C - 1: x.var would divide by C - 1 unless it is told otherwise.",
                "variance = x.var(dim=-1, keepdim=True, unbiased=False)",
            ),
            "(B, T, 1)",
        ),
        Step(
            "normalised",
            "the division is",
            lambda s: (s.x - s.mean) / (s.variance + _EPS).sqrt(),
            {
                "eps is missing: a token with equal channels has the variance 0, and 0/0 is NaN": lambda s: (
                    (s.x - s.mean) / s.variance.sqrt()
                ),
                "eps is added after the root: it belongs to the variance": lambda s: (
                    (s.x - s.mean) / (s.variance.sqrt() + _EPS)
                ),
                "the root is missing: the variance is a square": lambda s: (s.x - s.mean) / (s.variance + _EPS),
                "the division is missing": lambda s: s.x - s.mean,
            },
            (
                "Subtract the mean, and divide by the standard deviation. What if all channels are equal?",
                "The standard deviation is the root of the variance; self.eps, added to the variance, keeps it from "
                "being 0.",
                "normalised = (x - mean) / (variance + self.eps).sqrt()",
            ),
            "(B, T, C)",
        ),
        Step(
            "output",
            "the gain and the bias are",
            lambda s: s.normalised * s.module.weight + s.module.bias,
            {
                "the gain, self.weight, is missing": lambda s: s.normalised + s.module.bias,
                "the bias is missing": lambda s: s.normalised * s.module.weight,
                "the gain and the bias are missing: the layer must be able to undo the normalisation": lambda s: (
                    s.normalised
                ),
                "the bias is added before the gain multiplies": lambda s: (
                    (s.normalised + s.module.bias) * s.module.weight
                ),
            },
            (
                "The layer has two learned vectors, so that it can choose another scale and another mean.",
                "Multiply by self.weight, then add self.bias.",
                "return normalised * self.weight + self.bias",
            ),
            "(B, T, C)",
        ),
    ),
)


def _pre_norm(answer: Any) -> SimpleNamespace:
    module = answer(_C, _H)
    module.attention_norm, module.feed_forward_norm = nn.LayerNorm(_C), nn.LayerNorm(_C)  # right ones
    return _module(module)


PRE_NORM = Part(
    "Block",
    _pre_norm,
    _forward,
    (
        Step(
            "attended",
            "the first sum is",
            lambda s: s.x + s.module.attention(s.module.attention_norm(s.x)),
            {
                "the norm before the attention is missing": lambda s: s.x + s.module.attention(s.x),
                "the norm comes after the sum, as in the paper of 2017: v6 normalises what the attention "
                "reads": lambda s: s.module.attention_norm(s.x + s.module.attention(s.x)),
                "the norm comes after the attention: it must come before it": lambda s: (
                    s.x + s.module.attention_norm(s.module.attention(s.x))
                ),
                "the stream itself is normalised: the sum must begin with x as it is": lambda s: (
                    (normed := s.module.attention_norm(s.x)) + s.module.attention(normed)
                ),
                "the first residual connection is missing": lambda s: s.module.attention(s.module.attention_norm(s.x)),
            },
            (
                "v5 adds the attention of x to x. Only what the attention reads is to be normalised, not what it is "
                "added to.",
                "x plus the attention of the norm of x.",
                "attended = x + self.attention(self.attention_norm(x))",
            ),
            "(B, T, C)",
        ),
        Step(
            "output",
            "the second sum is",
            lambda s: s.attended + s.module.feed_forward(s.module.feed_forward_norm(s.attended)),
            {
                "the norm before the feed-forward layer is missing": lambda s: (
                    s.attended + s.module.feed_forward(s.attended)
                ),
                "the feed-forward layer's norm comes after the sum: v6 normalises what the layer reads": lambda s: (
                    s.module.feed_forward_norm(s.attended + s.module.feed_forward(s.attended))
                ),
                "the attention's norm is used twice: the feed-forward layer has its own": lambda s: (
                    s.attended + s.module.feed_forward(s.module.attention_norm(s.attended))
                ),
                "the second sum begins with the normalised stream: it must begin with the first sum": lambda s: (
                    (normed := s.module.feed_forward_norm(s.attended)) + s.module.feed_forward(normed)
                ),
                "the second sum begins with the block's input: it must begin with the first sum": lambda s: (
                    s.x + s.module.feed_forward(s.module.feed_forward_norm(s.attended))
                ),
                "the second residual connection is missing": lambda s: s.module.feed_forward(
                    s.module.feed_forward_norm(s.attended)
                ),
            },
            (
                "The same again, with the other norm and the feed-forward layer.",
                "The first sum plus the feed-forward layer of the norm of the first sum.",
                "return attended + self.feed_forward(self.feed_forward_norm(attended))",
            ),
            "(B, T, C)",
        ),
    ),
)

_P, _INPUT = 0.25, 3.0


def _dropout(answer: Any) -> SimpleNamespace:
    return SimpleNamespace(module=answer(_P))


def _observed(_: Any, s: SimpleNamespace) -> tuple[Any, ...]:
    """What a dropout layer does to equal numbers: draws differ, so only shares and means can be compared."""
    x = torch.full((8, 20_000), _INPUT)
    trained, evaluated = s.module.train()(x.clone()), s.module.eval()(x.clone())
    for y in (trained, evaluated):
        if not isinstance(y, Tensor) or y.shape != x.shape:
            returned = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"it must return a tensor of the shape of x, {tuple(x.shape)}, not {returned}")
    kept = trained[trained != 0]
    return (
        (trained == 0).double().mean(),
        kept.mean() / _INPUT if len(kept) else torch.zeros(()),
        (trained[0] == trained[1]).all().double(),
        (evaluated == 0).double().mean(),
        evaluated.max() / _INPUT,
    )


def _result(s: SimpleNamespace) -> tuple[float, ...]:
    """What is observed of these steps."""
    unchanged, dropped = (0.0, 1.0), (s.dropped[0], s.scale)
    trained, alike = (unchanged, 1.0) if s.evaluation == "exchanged" else (dropped, s.dropped[1])
    if s.evaluation in ("dropped", "exchanged"):
        return (*trained, alike, *dropped)
    return (*trained, alike, 0.0, {"unchanged": 1.0, "multiplied": 1 - _P, "divided": 1 / (1 - _P)}[s.evaluation])


DROPOUT = Part(
    "Dropout",
    _dropout,
    _observed,
    (
        Step(
            "evaluation",
            "the evaluation is",
            lambda _: "unchanged",
            {
                "dropout is on at evaluation: while self.training is False, x must come back as it is": lambda _: (
                    "dropped"
                ),
                "x is multiplied by 1 - p at evaluation: it must come back as it is, because the division in training "
                "makes up for the zeros": lambda _: "multiplied",
                "x is divided by 1 - p at evaluation: it must come back as it is": lambda _: "divided",
                "training and evaluation are exchanged: x must come back as it is while self.training is False": (
                    lambda _: "exchanged"
                ),
            },
            (
                "A model that is evaluated should do its best, and always the same.",
                "self.training is True after model.train() and False after model.eval(). While it is False, return x.",
                "if not self.training:\n    return x",
            ),
        ),
        Step(
            "dropped",
            "the choice of zeros is",
            lambda _: (_P, 0.0),  # their share, and whether all rows are alike
            {
                "p is the probability of being kept, but must be that of being dropped": lambda _: (1 - _P, 0.0),
                "nothing is dropped in training: each element needs a draw of its own": lambda _: (0.0, 1.0),
                "all rows drop the same columns: each element needs a draw of its own": lambda _: (_P, 1.0),
            },
            (
                "In training, each number becomes 0 with probability p, by a draw of its own.",
                "torch.rand_like(x) draws a number between 0 and 1 for each element; it is at least p with "
                "probability 1 - p.",
                "keep = torch.rand_like(x) >= self.p",
            ),
        ),
        Step(
            "scale",
            "the scale is",
            lambda _: 1 / (1 - _P),
            {
                "what is kept is not divided by 1 - p, so the mean shrinks in training": lambda _: 1.0,
                "what is kept is divided by p instead of 1 - p": lambda _: 1 / _P,
                "what is kept is multiplied by 1 - p instead of divided": lambda _: 1 - _P,
                "the mask is returned without x": lambda _: 1 / (1 - _P) / _INPUT,
                "the mask is returned without x, and not divided by 1 - p": lambda _: 1 / _INPUT,
            },
            (
                "If a part of the numbers becomes 0, their sum shrinks. The others make up for it.",
                "A share of 1 - p is left, so divide it by 1 - p: the mean stays as it was.",
                "return x * keep / (1 - self.p)",
            ),
        ),
        Step(
            "output", "the result is", _result, {}, ("In training, x times the mask, divided by 1 - p; otherwise x.",)
        ),
    ),
    tolerance=0.02,
    outputs=(
        "the share of zeros in training",
        "what is kept in training, as a multiple of x",
        "whether two rows drop the same columns",
        "the share of zeros at evaluation",
        "the result at evaluation, as a multiple of x",
    ),
)

EXERCISES = (
    Exercise("v4", "a feed-forward layer, and a block", "v4", (FEED_FORWARD, STACKED), stage="v4"),
    Exercise("v5", "residual connections", "v5", (RESIDUAL,), stage="v5"),
    Exercise("v6", "LayerNorm, before each branch", "v6", (LAYER_NORM, PRE_NORM), stage="v6"),
    Exercise("v7", "dropout", "v7", (DROPOUT,), stage="v7"),
)
