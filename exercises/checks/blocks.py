"""v4 to v7: a block, residual connections, LayerNorm, dropout."""

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from exercises.checks.steps import Exercise, Given, MistakeError, Part, Step, Way
from gpt.models import v3_feed_forward

_B, _T, _C, _H = 2, 6, 8, 2
_EPS = 1e-5


def _built(answer: Any, *sizes: float) -> nn.Module:
    module = answer(*sizes)
    if not isinstance(module, nn.Module):
        raise MistakeError("this must be an nn.Module")
    return module


def _randomised(module: nn.Module, C: int, B: int = _B, T: int = _T) -> SimpleNamespace:
    """A module with weights that are not small, and an input for it."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.6)
    return SimpleNamespace(module=module, x=torch.randn(B, T, C, requires_grad=True))


def _names(module: nn.Module, kinds: Mapping[str, Callable[[nn.Module], bool]]) -> dict[str, str]:
    """Which child has each role: the one of that name, or, if the learner chose other names, the one of that kind.

    Raises MistakeError if that is not clear.
    """
    children = {name: child for name, child in module.named_children() if list(child.parameters())}
    found = {role: role for role in kinds if role in children}
    for role, is_kind in kinds.items():
        if role not in found:
            rest = [name for name, child in children.items() if name not in found.values() and is_kind(child)]
            alike = [other for other in kinds if other not in found and kinds[other] is is_kind]
            if len(rest) != len(alike):
                raise MistakeError(
                    f"keep the layers {', '.join(f'self.{role}' for role in kinds)}: the checker needs these names, "
                    f"and found {', '.join(children) or 'no layers'}"
                )
            found[role] = rest[0]  # layers of one kind in the order in which they were made
    if extra := children.keys() - found.values():
        raise MistakeError(f"it has a layer too many: {', '.join(sorted(extra))}")
    return found


def _is_attention(child: nn.Module) -> bool:
    return type(child).__name__ == "MultiHeadAttention"


def _is_norm(child: nn.Module) -> bool:
    return type(child).__name__ == "LayerNorm"


def _is_other(child: nn.Module) -> bool:
    return not _is_attention(child) and not _is_norm(child)


def _feed_forward(C: int, scale: float) -> Given:
    def given(answer: Any) -> SimpleNamespace:
        given = _randomised(_built(answer, C), C)
        given.x = (given.x.detach() * scale).requires_grad_()
        linear = [layer for layer in given.module.modules() if isinstance(layer, nn.Linear)]
        if len(linear) != 1 or linear[0].weight.shape != (C, C) or linear[0].bias is None:
            sizes = ", ".join(f"{layer.in_features} to {layer.out_features}" for layer in linear) or "none"
            raise MistakeError(f"it must have one linear layer, from {C} to {C} channels with a bias; it has {sizes}")
        if sum(parameter.numel() for parameter in given.module.parameters()) != C * C + C:
            raise MistakeError("it has parameters beside those of the linear layer")
        given.linear = linear[0]
        return given

    return given


_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "a sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "GELU": functional.gelu,
    "a leaky ReLU": functional.leaky_relu,
    "SiLU": functional.silu,
    "ELU": functional.elu,
    "softplus": functional.softplus,
}


def _activated(activation: Callable[[Tensor], Tensor]) -> Way:
    return lambda s: activation(s.hidden)


FEED_FORWARD = Part(
    "FeedForward",
    (_feed_forward(8, 1.0), _feed_forward(5, 100.0)),
    (
        Step(
            "hidden",
            "the linear layer is",
            lambda s: s.linear(s.x),
            {
                "the linear layer is not used": lambda s: s.x,
                "the linear layer is applied twice, without a ReLU between": lambda s: s.linear(s.linear(s.x)),
                "the weight of the linear layer must be transposed: call the layer": lambda s: (
                    s.x @ s.linear.weight + s.linear.bias
                ),
                "the bias of the linear layer is missing": lambda s: s.x @ s.linear.weight.T,
                "the ReLU comes before the linear layer instead of after it": lambda s: s.linear(s.x.relu()),
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
                "this is linear(relu(x)): the ReLU belongs after the linear layer": lambda s: s.linear(s.x.relu()),
                "the ReLU is missing: without it, this layer and the next linear one together are a single linear "
                "layer": lambda s: s.hidden,
                **{
                    f"the activation is {name} instead of a ReLU": _activated(activation)
                    for name, activation in _ACTIVATIONS.items()
                },
                "the numbers are clamped to 1: large ones must stay as they are": lambda s: s.hidden.clamp(0, 1),
                "the absolute value is taken: a ReLU sets what is negative to 0": lambda s: s.hidden.abs(),
                "the square of the ReLU is taken": lambda s: s.hidden.relu().square(),
                "where the numbers are positive is returned, without the numbers": lambda s: (s.hidden > 0).float(),
                "a softmax stands in place of the ReLU": lambda s: s.hidden.softmax(-1),
                "x is added: that idea comes with v5": lambda s: s.x + s.hidden.relu(),
                "the linear layer is applied twice": lambda s: s.linear(s.hidden.relu()),
                "the linear layer and the ReLU are applied twice": lambda s: s.linear(s.hidden.relu()).relu(),
                "the sign is wrong: a ReLU keeps what is positive": lambda s: (-s.hidden).relu(),
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
    standard=v3_feed_forward.FeedForward,
)


def _block(C: int, H: int, B: int = _B, T: int = _T) -> Given:
    def given(answer: Any) -> SimpleNamespace:
        module = _built(answer, C, H)
        names = _names(module, {"attention": _is_attention, "feed_forward": _is_other})
        given = _randomised(module, C, B, T)
        return SimpleNamespace(**vars(given), **{role: getattr(module, name) for role, name in names.items()})

    return given


STACKED = Part(
    "Block",
    (_block(_C, _H), _block(9, 3, 1, 4)),
    (
        Step(
            "attended",
            "the attention is",
            lambda s: s.attention(s.x),
            {
                "the attention is not used": lambda s: s.x,
                "the attention reads the feed-forward layer, which comes after it": lambda s: s.attention(
                    s.feed_forward(s.x)
                ),
                "the attention is applied twice": lambda s: s.attention(s.attention(s.x)),
                "x is added to the attention: that idea comes with v5": lambda s: s.x + s.attention(s.x),
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
            lambda s: s.feed_forward(s.attended),
            {
                "the parts are in the wrong order: attention must come first, the feed-forward layer after it": (
                    lambda s: s.attention(s.feed_forward(s.x))
                ),
                "the feed-forward layer is applied twice": lambda s: s.feed_forward(s.feed_forward(s.attended)),
                "the feed-forward layer is not used": lambda s: s.attended,
                "the feed-forward layer reads x: it must read what the attention collected": lambda s: s.feed_forward(
                    s.x
                ),
                "the feed-forward layer reads x, beside the attention: it must come after it": lambda s: (
                    s.attended + s.feed_forward(s.x)
                ),
                "x is added to the result: that idea comes with v5": lambda s: s.x + s.feed_forward(s.attended),
                "the feed-forward layer's input is added: that idea comes with v5": lambda s: (
                    s.attended + s.feed_forward(s.attended)
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
    (_block(_C, _H), _block(9, 3, 1, 4)),
    (
        Step(
            "attended",
            "the first sum is",
            lambda s: s.x + s.attention(s.x),
            {
                "the first residual connection is missing: the attention must add to x, not replace it": lambda s: (
                    s.attention(s.x)
                ),
                "the attention is missing": lambda s: s.x,
                "x is multiplied by the attention: add them": lambda s: s.x * s.attention(s.x),
                "x is subtracted: add it": lambda s: s.attention(s.x) - s.x,
                "the attention is subtracted: add it": lambda s: s.x - s.attention(s.x),
                "the attention is applied twice": lambda s: s.x + s.attention(s.attention(s.x)),
                "the feed-forward layer comes first: the attention must": lambda s: s.x + s.feed_forward(s.x),
                "x is added before the attention instead of after it": lambda s: s.attention(s.x + s.x),
                "x is added twice": lambda s: 2 * s.x + s.attention(s.x),
                "the first sum has a ReLU, as in ResNet: the stream may be negative": lambda s: (
                    s.x + s.attention(s.x)
                ).relu(),
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
            lambda s: s.attended + s.feed_forward(s.attended),
            {
                "the second residual connection is missing: the feed-forward layer must add to its input": lambda s: (
                    s.feed_forward(s.attended)
                ),
                "the second sum begins with the block's input: it must begin with the first sum, or what the "
                "attention added is lost": lambda s: s.x + s.feed_forward(s.attended),
                "the feed-forward layer reads the block's input: it must read the first sum": lambda s: (
                    s.attended + s.feed_forward(s.x)
                ),
                "the block's input is added a second time": lambda s: s.x + s.attended + s.feed_forward(s.attended),
                "the feed-forward layer is missing": lambda s: s.attended,
                "the parts are in the wrong order: attention must come first, the feed-forward layer after it": (
                    lambda s: (computed := s.x + s.feed_forward(s.x)) + s.attention(computed)
                ),
                "both residual connections are missing, and the parts are in the wrong order": lambda s: s.attention(
                    s.feed_forward(s.x)
                ),
                "the residual connection skips both parts: each part must add to its own input": lambda s: (
                    s.x + s.feed_forward(s.attention(s.x))
                ),
                "the first sum is added twice": lambda s: 2 * s.attended + s.feed_forward(s.attended),
                "the second sum has a ReLU, as in ResNet: the stream may be negative": lambda s: (
                    s.attended + s.feed_forward(s.attended)
                ).relu(),
                "the feed-forward layer reads the attention without x: it must read the first sum": lambda s: (
                    s.attended + s.feed_forward(s.attention(s.x))
                ),
                "the feed-forward layer is subtracted: add it": lambda s: s.attended - s.feed_forward(s.attended),
                "the feed-forward layer is applied twice": lambda s: (
                    s.attended + s.feed_forward(s.feed_forward(s.attended))
                ),
                "the attention comes twice: the second part is the feed-forward layer": lambda s: (
                    s.attended + s.attention(s.attended)
                ),
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


def _norm(C: int, B: int = _B, T: int = _T) -> Given:
    def given(answer: Any) -> SimpleNamespace:
        module = _built(answer, C)
        made = dict(module.named_parameters())
        gains = [name for name, parameter in made.items() if parameter.shape == (C,) and bool((parameter == 1).all())]
        biases = [name for name, parameter in made.items() if parameter.shape == (C,) and bool((parameter == 0).all())]
        if len(made) != 2 or len(gains) != 1 or len(biases) != 1:
            raise MistakeError(
                "it must have two parameters of C numbers, self.weight that begins with ones and self.bias that begins "
                f"with zeros; it has {', '.join(made) or 'none'}"
            )
        given = _randomised(module, C, B, T)
        x = given.x.detach()
        x[0, 0] = 3.0  # a token with equal channels, whose variance is 0
        x[-1] += 2
        x[0, -1] *= 0.01
        return SimpleNamespace(module=module, x=x.requires_grad_(), gain=made[gains[0]], bias=made[biases[0]])

    return given


def _variance(s: SimpleNamespace, correction: int = 0) -> Tensor:
    return s.x.var(-1, correction=correction, keepdim=True)


def _divided(eps: float) -> Way:
    return lambda s: (s.x - s.mean) / (s.variance + eps).sqrt()


LAYER_NORM = Part(
    "LayerNorm",
    (_norm(_C), _norm(5, 3, 4), _norm(6, 2, 3)),
    (
        Step(
            "mean",
            "the mean is",
            lambda s: s.x.mean(-1, keepdim=True),
            {
                "the median stands in place of the mean": lambda s: s.x.median(-1, keepdim=True).values,
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
                "the mean absolute distance from the mean stands in place of the variance": lambda s: (
                    (s.x - s.x.mean(-1, keepdim=True)).abs().mean(-1, keepdim=True)
                ),
                "the variance is that of x without subtracting the mean, the mean of the squares": lambda s: (
                    s.x.square().mean(-1, keepdim=True)
                ),
                "the variance is squared": lambda s: _variance(s).square(),
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
                "this is RMSNorm, which does not subtract the mean and divides by the root of the mean square: "
                "subtract "
                "the mean of each token first": lambda s: s.x / (s.x.square().mean(-1, keepdim=True) + _EPS).sqrt(),
                "the mean is not subtracted before the division": lambda s: s.x / (s.variance + _EPS).sqrt(),
                "the mean is subtracted after the division instead of before it": lambda s: (
                    s.x / (s.variance + _EPS).sqrt() - s.mean
                ),
                "the mean is added: subtract it": lambda s: (s.x + s.mean) / (s.variance + _EPS).sqrt(),
                "x is subtracted from the mean: the order is reversed": lambda s: (
                    (s.mean - s.x) / (s.variance + _EPS).sqrt()
                ),
                "the standard deviation multiplies: divide by it": lambda s: (
                    (s.x - s.mean) * (s.variance + _EPS).sqrt()
                ),
                "eps is subtracted: add it to the variance": lambda s: (s.x - s.mean) / (s.variance - _EPS).sqrt(),
                **{f"eps is {eps}: add self.eps, {_EPS}": _divided(eps) for eps in (1e-2, 1e-3, 1e-4, 1e-6)},
                "eps is squared, or too small: add self.eps to the variance": lambda s: (
                    (s.x - s.mean) / (s.variance + _EPS**2).sqrt()
                ),
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
            lambda s: s.normalised * s.gain + s.bias,
            {
                "the gain, self.weight, is missing": lambda s: s.normalised + s.bias,
                "the bias is missing": lambda s: s.normalised * s.gain,
                "the gain and the bias are missing: the layer must be able to undo the normalisation": lambda s: (
                    s.normalised
                ),
                "the bias is subtracted: add it": lambda s: s.normalised * s.gain - s.bias,
                "the gain and the bias are exchanged": lambda s: s.normalised * s.bias + s.gain,
                "the gain divides: multiply by it": lambda s: s.normalised / s.gain + s.bias,
                "1 is added to the gain, which begins at 1": lambda s: s.normalised * (1 + s.gain) + s.bias,
                "x is added: only blocks have residual connections": lambda s: s.normalised * s.gain + s.bias + s.x,
                "the gain multiplies the bias, too, or the bias x": lambda s: s.normalised * (s.gain + s.bias),
                "the gain and the bias are added": lambda s: s.normalised + s.gain + s.bias,
                "the bias is added before the gain multiplies": lambda s: (s.normalised + s.bias) * s.gain,
            },
            (
                "The layer has two learned vectors, so that it can choose another scale and another mean.",
                "Multiply by self.weight, then add self.bias.",
                "return normalised * self.weight + self.bias",
            ),
            "(B, T, C)",
        ),
    ),
    standard=nn.LayerNorm,
)


def _pre_norm(C: int, H: int, B: int = _B, T: int = _T) -> Given:
    kinds = {"attention": _is_attention, "attention_norm": _is_norm, "feed_forward_norm": _is_norm}

    def given(answer: Any) -> SimpleNamespace:
        module = _built(answer, C, H)
        names = _names(module, {**kinds, "feed_forward": _is_other})
        norms = [names["attention_norm"], names["feed_forward_norm"]]
        given = _randomised(module, C, B, T)
        layers = {role: getattr(module, name) for role, name in names.items()}
        swapped = {"attention_norm": layers["feed_forward_norm"], "feed_forward_norm": layers["attention_norm"]}
        is_named = "attention_norm" in norms or "feed_forward_norm" in norms
        return SimpleNamespace(**vars(given), **layers, readings=[{}] if is_named else [{}, swapped])

    return given


PRE_NORM = Part(
    "Block",
    (_pre_norm(_C, _H), _pre_norm(9, 3, 1, 4)),
    (
        Step(
            "attended",
            "the first sum is",
            lambda s: s.x + s.attention(s.attention_norm(s.x)),
            {
                "the norm before the attention is missing": lambda s: s.x + s.attention(s.x),
                "the norm comes after the sum, as in the paper of 2017: v6 normalises what the attention "
                "reads": lambda s: s.attention_norm(s.x + s.attention(s.x)),
                "the norm comes after the attention: it must come before it": lambda s: (
                    s.x + s.attention_norm(s.attention(s.x))
                ),
                "the feed-forward layer's norm is used for the attention: it has its own": lambda s: (
                    s.x + s.attention(s.feed_forward_norm(s.x))
                ),
                "the attention is missing": lambda s: s.x,
                "the stream itself is normalised: the sum must begin with x as it is": lambda s: (
                    (normed := s.attention_norm(s.x)) + s.attention(normed)
                ),
                "the first residual connection is missing": lambda s: s.attention(s.attention_norm(s.x)),
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
            lambda s: s.attended + s.feed_forward(s.feed_forward_norm(s.attended)),
            {
                "the norm before the feed-forward layer is missing": lambda s: s.attended + s.feed_forward(s.attended),
                "the feed-forward layer's norm comes after the sum: v6 normalises what the layer reads": lambda s: (
                    s.feed_forward_norm(s.attended + s.feed_forward(s.attended))
                ),
                "the feed-forward layer's norm comes after the layer: it must come before it": lambda s: (
                    s.attended + s.feed_forward_norm(s.feed_forward(s.attended))
                ),
                "the feed-forward layer reads the block's input: it must read the first sum": lambda s: (
                    s.attended + s.feed_forward(s.feed_forward_norm(s.x))
                ),
                "the feed-forward layer is missing": lambda s: s.attended,
                "the parts are in the wrong order: attention must come first, the feed-forward layer after it": (
                    lambda s: (
                        (computed := s.x + s.feed_forward(s.feed_forward_norm(s.x)))
                        + s.attention(s.attention_norm(computed))
                    )
                ),
                "the block's input is added a second time": lambda s: (
                    s.x + s.attended + s.feed_forward(s.feed_forward_norm(s.attended))
                ),
                "the attention's norm is used twice: the feed-forward layer has its own": lambda s: (
                    s.attended + s.feed_forward(s.attention_norm(s.attended))
                ),
                "the two norms are exchanged: each part has its own": lambda s: (
                    (collected := s.x + s.attention(s.feed_forward_norm(s.x)))
                    + s.feed_forward(s.attention_norm(collected))
                ),
                "the second sum begins with the normalised stream: it must begin with the first sum": lambda s: (
                    (normed := s.feed_forward_norm(s.attended)) + s.feed_forward(normed)
                ),
                "the second sum begins with the block's input: it must begin with the first sum": lambda s: (
                    s.x + s.feed_forward(s.feed_forward_norm(s.attended))
                ),
                "the second residual connection is missing": lambda s: s.feed_forward(s.feed_forward_norm(s.attended)),
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


def _dropout(p: float, *shape: int) -> Given:
    return lambda answer: SimpleNamespace(module=_built(answer, p), p=p, shape=shape)


def _observed(_: Any, s: SimpleNamespace) -> tuple[Any, ...]:
    """What a dropout layer does: draws differ, so only shares and factors can be compared."""
    x, trained, passed = torch.rand(s.shape) + 1, [], 0.0
    x *= torch.randint(0, 2, s.shape) * 2 - 1
    for _call in range(10):
        given = x.clone().requires_grad_()
        y = s.module.train()(copy := given.clone())
        if not torch.equal(copy, given):
            raise MistakeError("x itself is changed: make a new tensor, such as x * keep")
        trained.append(_of_shape(y, x) / x)
        if y.requires_grad:
            (gradient,) = torch.autograd.grad(y.sum(), given, allow_unused=True)
            passed += gradient is not None and torch.allclose(gradient, trained[-1])
    evaluated = _of_shape(s.module.eval()(x.clone()), x)
    ratios = torch.stack(trained)
    zeros, kept = ratios == 0, ratios[ratios != 0]
    share = zeros.double().mean()
    _check_factors(ratios, x)
    is_same = len(zeros.flatten(1).unique(dim=0)) < len(zeros)
    if 0 < share < 1:
        _check_draws(zeros.double(), x, share.item(), is_same)
    return (
        share,
        float(is_same and bool(zeros.any())),
        kept.mean() if len(kept) else torch.zeros(()),
        passed / len(trained),
        (evaluated == 0).double().mean(),
        (evaluated / x).max(),
    )


def _check_factors(ratios: Tensor, x: Tensor) -> None:
    """Raises MistakeError if what is kept is not x times the same factor. ratios: (calls, *x.shape)."""
    kept, calls = ratios[ratios != 0], [ratio[ratio != 0] for ratio in ratios]
    if not len(kept) or kept.std() <= 1e-5 * kept.abs().mean():
        return
    spread = max(one.std().item() for one in calls) / kept.abs().mean().item()
    share = ((kept - kept.median()).abs() < 1e-4).double().mean()
    if ((ratios * x)[ratios != 0]).std() < 1e-5:
        raise MistakeError("the mask is returned without x")
    if spread <= 1e-5:
        raise MistakeError(
            "what is kept has another scale in each call: divide it by 1 - p, not by the share that happens to stay"
        )
    if spread < 1e-3:
        raise MistakeError("what is kept is rounded, as in half precision")
    if share > 0.1:
        raise MistakeError("what is dropped must become 0, and the rest x times one factor")
    raise MistakeError("each element gets a factor of its own, as in Gaussian dropout: draw only whether it stays")


def _check_draws(zeros: Tensor, x: Tensor, share: float, is_same: bool) -> None:
    """Raises MistakeError unless each element is dropped by its own draw. zeros: (calls, *x.shape), `share` of it 1."""
    names = ("windows of the batch", "positions of a window", "channels of a position")[-x.dim() :]
    # By how much the number of zeros along a dimension varies, as a multiple of what it does with independent draws.
    spreads = [(zeros.sum(i + 1).var() / n / share / (1 - share)).item() for i, n in enumerate(x.shape)]
    together = [name for name, n, spread in zip(names, x.shape, spreads, strict=True) if spread > 0.6 * n]
    if together:
        raise MistakeError(
            f"one draw decides for all {' and all '.join(together)}: each element needs a draw of its own"
        )
    if max(spreads) > 1.4:
        raise MistakeError("some elements are dropped together: each needs a draw of its own")
    if is_same:
        return
    if any((zeros[:, one].mean() - zeros[:, ~one].mean()).abs() > 0.02 for one in (x.abs() > x.abs().median(), x > 0)):
        raise MistakeError("whether an element is dropped depends on its value: draw without looking at x")
    if min(spreads) < 0.6 or any(not zeros.flatten(i).sum(-1).std() for i in range(1, zeros.dim())):
        raise MistakeError("the same number of elements is dropped each time: with a draw for each, the number varies")


def _of_shape(y: Any, x: Tensor) -> Tensor:
    if not isinstance(y, Tensor) or y.shape != x.shape:
        returned = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise MistakeError(f"it must return a tensor of the shape of x, {tuple(x.shape)}, not {returned}")
    return y.detach()


def _result(s: SimpleNamespace) -> tuple[float, ...]:
    """What is observed of these steps."""
    share, again = s.dropped
    scale, passed = s.scale
    if s.evaluation == "exchanged":
        return (0.0, 0.0, 1.0, 1.0, share, scale)
    value = {"unchanged": 1.0, "multiplied": 1 - s.p, "divided": 1 / (1 - s.p), "dropped": scale, "zero": 0.0}
    zeros = {"dropped": share, "zero": 1.0}.get(s.evaluation, 0.0)
    return (share, again, scale if share < 1 else 0.0, passed, zeros, value[s.evaluation])


DROPOUT = Part(
    "Dropout",
    (_dropout(0.25, 12, 20, 40), _dropout(0.6, 120, 80)),
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
                "all of x becomes 0 at evaluation: it must come back as it is": lambda _: "zero",
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
            lambda s: (s.p, 0.0),  # their share, and whether calls share them
            {
                "p is the probability of being kept, but must be that of being dropped": lambda s: (1 - s.p, 0.0),
                "the probability is 1/2, whatever p is": lambda _: (0.5, 0.0),
                "nothing is dropped in training: each element needs a draw of its own": lambda _: (0.0, 0.0),
                "everything is dropped in training: each element needs a draw of its own": lambda _: (1.0, 0.0),
                "each call drops the same: draw a new mask in each call, without a seed": lambda s: (s.p, 1.0),
                "p is the probability of being kept, and each call keeps the same": lambda s: (1 - s.p, 1.0),
                "normally distributed numbers are compared with p: torch.rand draws evenly between 0 and 1": lambda s: (
                    0.5 * (1 + math.erf(s.p / 2**0.5)),
                    0.0,
                ),
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
            lambda s: (1 / (1 - s.p), 1.0),  # of what is kept, and the share of calls in which the gradient is right
            {
                "what is kept is not divided by 1 - p, so the mean shrinks in training": lambda _: (1.0, 1.0),
                "what is kept is divided by p instead of 1 - p": lambda s: (1 / s.p, 1.0),
                "what is kept is multiplied by 1 - p instead of divided": lambda s: (1 - s.p, 1.0),
                "no gradient gets through, or a wrong one: is there a .detach(), .data or no_grad?": lambda s: (
                    1 / (1 - s.p),
                    0.0,
                ),
                "what is kept is not divided by 1 - p, and no gradient gets through": lambda _: (1.0, 0.0),
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
    observe=_observed,
    tolerance=(0.012, 0.0, 1e-4, 0.0, 0.012, 1e-4),
    outputs=(
        "the share of zeros in training",
        "whether all calls drop the same",
        "what is kept in training, as a multiple of x",
        "the share of calls with the right gradient",
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
