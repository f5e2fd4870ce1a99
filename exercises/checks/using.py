"""Sampling from a model's logits, and a training step."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exercises.checks.steps import Exercise, Part, Step, Way
from gpt.models.v1_bigram import Bigram

_TEMPERATURE, _TOP_P = 0.5, 0.6


def _logits(_: Any) -> SimpleNamespace:
    return SimpleNamespace(logits=torch.randn(3, 6))


TEMPERATURE = Part(
    "probabilities",
    _logits,
    lambda answer, s: answer(s.logits.clone(), _TEMPERATURE),
    (
        Step(
            "scaled",
            "the temperature is",
            lambda s: s.logits / _TEMPERATURE,
            {
                "the logits are multiplied by the temperature: divide them, so that a low one makes the likeliest "
                "token likelier": lambda s: s.logits * _TEMPERATURE,
                "the temperature is not used, or only added, which changes no probability: divide the logits by it": (
                    lambda s: s.logits
                ),
            },
            (
                "A cold system stays in its likeliest state: a low temperature must push the logits apart.",
                "Divide the logits by the temperature.",
                "scaled = logits / temperature",
            ),
            "(N, V)",
        ),
        Step(
            "probabilities",
            "the softmax is",
            lambda s: s.scaled.softmax(-1),
            {
                "the temperature divides the probabilities: it must divide the logits, before the softmax": lambda s: (
                    s.logits.softmax(-1) / _TEMPERATURE
                ),
                "the softmax is over the wrong dimension: each row must add up to 1": lambda s: s.scaled.softmax(0),
                "the softmax is missing: logits are not probabilities": lambda s: s.scaled,
            },
            ("What turns scores into probabilities?", "A softmax of each row.", "return scaled.softmax(dim=-1)"),
            "(N, V)",
        ),
    ),
)


def _probabilities(_: Any) -> SimpleNamespace:
    p = torch.tensor([[0.05, 0.4, 0.15, 0.3, 0.1], [0.02, 0.03, 0.1, 0.15, 0.7], [0.2, 0.22, 0.18, 0.21, 0.19]])
    ranked, order = p.sort(descending=True)
    return SimpleNamespace(p=p, ranked=ranked, order=order)


NUCLEUS = Part(
    "nucleus",
    _probabilities,
    lambda answer, s: answer(s.p.clone(), _TOP_P),
    (
        Step(
            "before",
            "the sums are",
            lambda s: s.ranked.cumsum(-1) - s.ranked,
            {
                "the token that crosses the threshold is dropped: it must be kept, so that those that are kept add up "
                "to p at least": lambda s: s.ranked.cumsum(-1),
                "the sums run over the tokens in the order of the vocabulary: rank them by probability "
                "first": lambda s: s.p.cumsum(-1) - s.p,
                "the sums run down the columns: they must run along each row": lambda s: s.ranked.cumsum(0) - s.ranked,
                "no sums are taken: each probability is compared with p by itself": lambda s: s.ranked,
            },
            (
                "A token belongs to the nucleus if the tokens that are likelier than it do not reach p yet. So you "
                "need, for each rank, the sum of all ranks before it.",
                "cumsum adds up to and including each rank; subtract the rank's own probability.",
                "before = ranked.cumsum(dim=-1) - ranked",
            ),
            "(N, V)",
        ),
        Step(
            "kept",
            "the cut is",
            lambda s: s.ranked.where(s.before < _TOP_P, torch.zeros(())),
            {
                "the wrong side is kept: the likeliest tokens must stay": lambda s: s.ranked.where(
                    s.before >= _TOP_P, torch.zeros(())
                ),
                "nothing is cut off": lambda s: s.ranked,
                "the likeliest token alone is kept": lambda s: s.ranked.where(s.before <= 0, torch.zeros(())),
            },
            (
                "What is outside the nucleus gets the probability 0.",
                "A rank is outside if the sum before it is at least top_p.",
                "kept = ranked.masked_fill(before >= top_p, 0)",
            ),
            "(N, V)",
        ),
        Step(
            "unranked",
            "the order is",
            lambda s: torch.zeros_like(s.kept).scatter(-1, s.order, s.kept),
            {
                "the probabilities stay ranked: bring them back into the order of the vocabulary": lambda s: s.kept,
                "gather(order) ranks once more: scatter puts each rank back in its place": lambda s: s.kept.gather(
                    -1, s.order
                ),
                "the tokens stay in the order of the vocabulary, but what is cut off was found for the "
                "ranks": lambda s: s.p.where(s.kept > 0, torch.zeros(())),
            },
            (
                "Rank r is token order[r]. Write each probability to its token's place.",
                "zeros.scatter(-1, order, kept) writes kept[n, r] to the column order[n, r].",
                "unranked = torch.zeros_like(kept).scatter(-1, order, kept)",
            ),
            "(N, V)",
        ),
        Step(
            "output",
            "the division is",
            lambda s: s.unranked / s.unranked.sum(-1, keepdim=True),
            {
                "the probabilities that are kept no longer add up to 1: divide them by their sum": lambda s: s.unranked,
                "the whole tensor adds up to 1, but each row must": lambda s: s.unranked / s.unranked.sum(),
                "a second softmax changes their ratios: divide them by their sum": lambda s: s.unranked.softmax(-1),
            },
            (
                "What is kept must add up to 1 again.",
                "Divide each row by its sum.",
                "return unranked / unranked.sum(dim=-1, keepdim=True)",
            ),
            "(N, V)",
        ),
    ),
)

_V, _LR, _STEPS = 5, 2.0, 3


class _Watched(torch.optim.SGD):
    """Notes whether a step was taken, and whether there was a gradient then."""

    stepped = had_gradient = False

    def step(self, closure: Any = None) -> Any:
        """One step."""
        self.stepped = True
        self.had_gradient = any(
            p.grad is not None and bool(p.grad.any()) for g in self.param_groups for p in g["params"]
        )
        return super().step(closure)


def _bigram() -> tuple[nn.Module, Tensor]:
    """A model, and its weights."""
    model = Bigram(_V, block_size=4)
    weight: Any = model.table.weight
    with torch.no_grad():
        weight.copy_(torch.linspace(-1, 1, _V * _V).view(_V, _V).sin())
    return model, weight


def _batch(_: Any) -> SimpleNamespace:
    idx = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 4]])
    return SimpleNamespace(idx=idx, targets=torch.tensor([[1, 2, 3, 4], [1, 0, 4, 0]]))


def _trained(answer: Any, s: SimpleNamespace) -> tuple[Any, ...]:
    """Some steps of a small model: its weights afterwards, the losses, and what the optimizer saw."""
    model, weight = _bigram()
    optimizer, backward = _Watched(model.parameters(), lr=_LR), []
    weight.register_hook(lambda _: backward.append(True))
    losses = [answer(model, optimizer, s.idx, s.targets) for _ in range(_STEPS)]
    if not isinstance(losses[0], Tensor | float):
        raise ValueError(f"it must return the loss as a number, not {type(losses[0]).__name__}")
    holds = any(isinstance(loss, Tensor) and loss.requires_grad for loss in losses)
    flags = (len(backward) > 0, optimizer.stepped, optimizer.had_gradient, holds)
    values = torch.stack([torch.as_tensor(loss).detach().float() for loss in losses])
    return values, weight.detach(), *map(float, flags)


def _simulated(s: SimpleNamespace) -> tuple[Any, ...]:
    model, weight = _bigram()
    losses, gradient = [], torch.zeros(_V, _V)
    for _ in range(_STEPS):
        loss = s.loss(model(s.idx).flatten(0, 1), s.targets.flatten())
        losses.append(loss.detach())
        (new,) = torch.autograd.grad(loss, weight)
        gradient = gradient + new if s.gradient == "accumulated" else new
        if s.gradient != "none" and s.gradient != "erased" and s.update:
            weight.data -= s.update * _LR * gradient
    flags = (s.gradient != "none", s.update != 0, s.update != 0 and s.gradient in ("fresh", "accumulated"), s.holds)
    return torch.stack(losses), weight.detach(), *map(float, flags)


def _always(value: Any) -> Way:
    return lambda _: value


TRAINING_STEP = Part(
    "training_step",
    _batch,
    _trained,
    (
        Step(
            "loss",
            "the loss is",
            _always(cross_entropy),
            {
                "cross_entropy gets probabilities: it takes logits, and applies the softmax itself": _always(
                    lambda logits, targets: cross_entropy(logits.softmax(-1), targets)
                ),
                "the losses are added up: take their mean, so that the batch's size does not change the step": _always(
                    lambda logits, targets: cross_entropy(logits, targets, reduction="sum")
                ),
                "the loss has the wrong sign: the step would raise it": _always(
                    lambda logits, targets: -cross_entropy(logits, targets)
                ),
            },
            (
                "How wrong are the model's predictions for the targets? model(idx) gives logits, (B, T, V).",
                "cross_entropy takes (N, V) logits and (N,) targets: join the first two dimensions of both.",
                "loss = cross_entropy(model(idx).flatten(0, 1), targets.flatten())",
            ),
            "()",
        ),
        Step(
            "gradient",
            "the gradient is",
            _always("fresh"),
            {
                "the gradients are not set to zero: backward() adds to those of the steps before. Call "
                "optimizer.zero_grad() once a step": _always("accumulated"),
                "backward() is missing: there is no gradient": _always("none"),
                "zero_grad() comes between backward() and step(), so it erases the gradient that step() needs": _always(
                    "erased"
                ),
            },
            (
                "Which way must each weight move? loss.backward() computes that, and adds it to what is in .grad.",
                "Clear the old gradients, then compute the new ones.",
                "optimizer.zero_grad()\nloss.backward()",
            ),
        ),
        Step(
            "update",
            "the update is",
            _always(1),
            {"step() is missing: the weights do not change": _always(0), "step() is called twice": _always(2)},
            (
                "The gradients alone change nothing.",
                "The optimizer moves the weights, after backward().",
                "optimizer.step()",
            ),
        ),
        Step(
            "holds",
            "the returned value is",
            _always(False),
            {
                "the loss is returned as a tensor that keeps its whole computation alive, so memory fills up: return "
                "loss.item() or loss.detach()": _always(True)
            },
            (
                "Whoever collects the losses needs numbers, not the graph of how they came about.",
                "loss.item() is the number.",
                "return loss.item()",
            ),
        ),
        Step("output", "the result is", _simulated, {}, ("Loss, gradient, update: in this order.",)),
    ),
    outputs=(
        "the losses of three steps",
        "the weights after three steps",
        "whether there was a backward()",
        "whether there was a step()",
        "whether step() had a gradient",
        "whether the returned loss holds the graph",
    ),
)

EXERCISES = (
    Exercise("sampling", "temperature and top-p", "sampling", (TEMPERATURE, NUCLEUS)),
    Exercise("training", "a training step", "loop", (TRAINING_STEP,)),
)
