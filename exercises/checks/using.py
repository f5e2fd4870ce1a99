"""Sampling from a model's logits, and a training step."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exercises.checks.steps import Exercise, Given, MistakeError, Part, Step, Way


def _logits(temperature: float, *shifts: float) -> Given:
    return lambda _: SimpleNamespace(
        logits=(torch.randn(len(shifts), 6) + torch.tensor(shifts)[:, None]), temperature=temperature
    )


TEMPERATURE = Part(
    "probabilities",
    (
        _logits(0.5, 0, 0, 0),
        _logits(1.7, 0, 0, 0, 0),
        _logits(0.8, 1000, 0, -1000, 0),
        _logits(0.01, 0),
        _logits(9.0, 0),
    ),
    (
        Step(
            "scaled",
            "the temperature is",
            lambda s: s.logits / s.temperature,
            {
                "the logits are multiplied by the temperature: divide them, so that a low one makes the likeliest "
                "token likelier": lambda s: s.logits * s.temperature,
                "the temperature changes nothing: it is not used, or only added, or divides the probabilities and "
                "cancels. Divide the logits by it": (lambda s: s.logits),
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
                    s.logits.softmax(-1) / s.temperature
                ),
                "the softmax is over the wrong dimension: each row must add up to 1": lambda s: s.scaled.softmax(0),
                "the softmax is over the whole tensor: each row must add up to 1": lambda s: (
                    s.scaled.flatten().softmax(0).view_as(s.scaled)
                ),
                "the softmax is applied twice": lambda s: s.scaled.softmax(-1).softmax(-1),
                "the softmax is applied before the temperature and after it": lambda s: (
                    s.logits.softmax(-1) / s.temperature
                ).softmax(-1),
                "the logarithm of the probabilities is returned": lambda s: s.scaled.log_softmax(-1),
                "a sigmoid stands in place of the softmax": lambda s: s.scaled.sigmoid(),
                "the exponentials are not divided by their sum": lambda s: s.scaled.exp(),
                "the scores are divided by their sum: softmax takes the exponentials first": lambda s: (
                    s.scaled / s.scaled.sum(-1, keepdim=True)
                ),
                "exp(1000) overflows to Inf, and Inf/Inf is NaN: use softmax, or subtract each row's largest logit": (
                    lambda s: s.scaled.exp() / s.scaled.exp().sum(-1, keepdim=True)
                ),
            },
            ("What turns scores into probabilities?", "A softmax of each row.", "return scaled.softmax(dim=-1)"),
            "(N, V)",
        ),
    ),
    inputs=("logits", "temperature"),
)


def _nucleus(top_p: float, *rows: tuple[float, ...]) -> Given:
    p = torch.tensor(rows)
    ranked, order = p.sort(descending=True)
    return lambda _: SimpleNamespace(p=p, top_p=top_p, ranked=ranked, order=order)


NUCLEUS = Part(
    "nucleus",
    (
        _nucleus(0.6, (0.05, 0.4, 0.15, 0.3, 0.1), (0.02, 0.03, 0.1, 0.15, 0.7), (0.2, 0.22, 0.18, 0.21, 0.19)),
        # Sums that reach top_p exactly, without rounding
        _nucleus(0.75, (0.125, 0.5, 0.25, 0.09375, 0.03125), (0.75, 0.125, 0.0625, 0.03125, 0.03125)),
        _nucleus(1.0, (0.125, 0.5, 0.25, 0.125)),
        _nucleus(0.01, (0.3, 0.2, 0.1, 0.4), (0.1, 0.2, 0.4, 0.3)),
        _nucleus(0.9, *(torch.arange(40).mul(7) % 40 * torch.tensor([[0.03], [0.5], [1.5]])).softmax(-1).tolist()),
    ),
    (
        Step(
            "before",
            "the sums are",
            lambda s: s.ranked.cumsum(-1) - s.ranked,
            {
                "the token that crosses the threshold is dropped: it must be kept, so that those that are kept add up "
                "to p at least": lambda s: s.ranked.cumsum(-1),
                "the sums are moved along, but the last one, 1, comes to the front: the sum before the likeliest token "
                "is 0": lambda s: s.ranked.cumsum(-1).roll(1, -1),
                "the token that crosses the threshold is dropped unless it is the likeliest: keep it": lambda s: (
                    s.ranked.cumsum(-1).index_fill(-1, torch.tensor([0]), 0.0)
                ),
                "one token too many is kept: the token that crosses the threshold is the last": lambda s: (
                    (s.ranked.cumsum(-1) - s.ranked).roll(1, -1).index_fill(-1, torch.tensor([0]), 0.0)
                ),
                "the sums are those of the less likely tokens: add up the likelier ones": lambda s: (
                    1 - s.ranked.cumsum(-1)
                ),
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
            lambda s: s.ranked.where(s.before < s.top_p, torch.zeros(())),
            {
                "the wrong side is kept: the likeliest tokens must stay": lambda s: s.ranked.where(
                    s.before >= s.top_p, torch.zeros(())
                ),
                "a token is kept although those before it reach top_p exactly: the comparison needs its border on the "
                "other side, before < top_p is kept and before >= top_p cut off": lambda s: s.ranked.where(
                    s.before <= s.top_p, torch.zeros(())
                ),
                "nothing is cut off": lambda s: s.ranked,
                "what is cut off is not 0: its probability must be": lambda s: s.ranked.clamp(min=0).where(
                    s.before < s.top_p, torch.full((), 1e-3)
                ),
                "the sums are kept instead of the probabilities": lambda s: s.before.where(
                    s.before < s.top_p, torch.zeros(())
                ),
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
                "all rows are put back in the order of row 0: each row has its own": lambda s: torch.zeros_like(
                    s.kept
                ).scatter(-1, s.order[:1].expand_as(s.order), s.kept),
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
                "the columns add up to 1, but the rows must": lambda s: s.unranked / s.unranked.sum(0, keepdim=True),
                "what is kept is divided by top_p: divide by its sum, which may be larger": lambda s: (
                    s.unranked / s.top_p
                ),
                "what is kept is divided by the row's largest: divide by its sum": lambda s: (
                    s.unranked / s.unranked.amax(-1, keepdim=True)
                ),
                "what is kept is divided by the number of tokens: divide by its sum": lambda s: (
                    s.unranked / s.unranked.shape[-1]
                ),
                "all that is kept gets the same probability: divide each token's own by their sum": lambda s: (
                    (kept := (s.unranked > 0).float()) / kept.sum(-1, keepdim=True)
                ),
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
    inputs=("p", "top_p"),
)

_V, _LR, _STEPS = 5, 5e-6, 3
_SCALE = 1000.0  # of the logits: makes gradients so large that clipping them shows


class _Model(nn.Module):
    """A bigram table, (V, V), whose gradients are large."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, _V * _V).mul(7).view(_V, _V).sin() / _SCALE)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        if not self.training:
            raise MistakeError(
                "the loss is computed in evaluation mode, where dropout is off: a training step must not call eval()"
            )
        return _SCALE * self.table[idx]


class _Watched(torch.optim.Optimizer):
    """SGD that notes what happens, "zero", "backward" and "step", and whether step() gets backward()'s gradients.

    Overrides what would import torch._dynamo, which takes longer than all else.
    """

    def __init__(self, params: Any, lr: float = _LR) -> None:
        super().__init__(params, {"lr": lr})
        self.events: list[str] = []
        self.had_gradient = False
        self.is_changed = False
        self.computed: list[Tensor] = []  # by each backward()
        (self.table,) = self.param_groups[0]["params"]
        self.after = self.table.detach().clone()  # the weights after the last step
        self.table.register_hook(self._note)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As SGD does."""
        self.param_groups.append(self.defaults | {"params": list(param_group["params"])})

    def _note(self, gradient: Tensor) -> None:
        self.events.append("backward")
        self.computed.append(gradient.clone())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.events.append("zero")
        self.table.grad = None if set_to_none or self.table.grad is None else torch.zeros(_V, _V)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        self.events.append("step")
        self.state[self.table]["steps"] = self.state[self.table].get("steps", 0) + 1
        gradient = self.table.grad
        if gradient is not None:
            self.had_gradient |= bool(gradient.any())
            sums = [sum(self.computed[i:], torch.zeros(_V, _V)) for i in range(len(self.computed) + 1)]
            self.is_changed |= not any(torch.allclose(gradient, one, 1e-4, 1e-5) for one in sums)
            self.table -= self.param_groups[0]["lr"] * gradient
        self.after = self.table.clone()
        return loss

    def check(self) -> None:
        """Raises MistakeError for what no training step may do."""
        if not torch.equal(self.table, self.after):
            raise MistakeError(
                "the weights change without a step() of the optimizer that is passed: an optimizer made anew in each "
                "step forgets what it has kept, and by hand, most would step in another way"
            )
        if self.state[self.table].get("steps", 0) != self.events.count("step"):
            raise MistakeError("what the optimizer keeps from step to step is lost: leave optimizer.state alone")
        if self.param_groups[0]["lr"] != _LR:
            raise MistakeError("the learning rate is changed: that is left to whoever calls training_step")
        if self.is_changed:
            raise MistakeError(
                "the gradients are changed between backward() and step(), as by clipping or scaling: this step must "
                "take them as they are"
            )


def _batch(_: Any) -> SimpleNamespace:
    idx = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 4]])
    return SimpleNamespace(idx=idx, targets=torch.tensor([[1, 2, 3, 4], [1, 0, 4, 0]]))


def _larger_batch(_: Any) -> SimpleNamespace:
    idx = torch.tensor([[0, 1, 2], [3, 1, 0], [4, 4, 2]])
    return SimpleNamespace(idx=idx, targets=torch.tensor([[1, 2, 3], [1, 0, 4], [4, 2, 2]]))


def _trained(answer: Any, s: SimpleNamespace) -> tuple[Any, ...]:
    """Some steps of a small model: its weights afterwards, the losses, and what the optimizer saw."""
    model = _Model()
    losses: list[Any] = []
    optimizer = _Watched(model.parameters())
    for _ in range(_STEPS):
        losses.append(answer(model, optimizer, *(copies := (s.idx.clone(), s.targets.clone()))))
        if not (torch.equal(copies[0], s.idx) and torch.equal(copies[1], s.targets)):
            raise MistakeError("idx or targets are changed in place: they belong to whoever calls training_step")
        if not isinstance(losses[-1], Tensor | float):
            raise MistakeError(f"it must return the loss as a number, not {type(losses[-1]).__name__}")
        if not model.training:
            raise MistakeError("the model is left in evaluation mode: a training step must not call eval()")
        optimizer.check()
    holds = any(isinstance(loss, Tensor) and loss.requires_grad for loss in losses)
    steps, backward = (optimizer.events.count(event) for event in ("step", "backward"))
    early = steps > 0 and backward > 0 and optimizer.events.index("step") < optimizer.events.index("backward")
    flags = (backward > 0, steps > 0, optimizer.had_gradient, holds, early)
    values = torch.stack([torch.as_tensor(loss).detach().float() for loss in losses])
    gradient = optimizer.computed[0] if optimizer.computed else torch.zeros(_V, _V)
    return gradient, values, model.table.detach() * _SCALE, *map(float, flags)


def _simulated(s: SimpleNamespace) -> tuple[Any, ...]:
    losses: list[Tensor] = []
    model = _Model()
    gradient = previous = first = torch.zeros(_V, _V)
    is_early = s.gradient in ("early", "early, erased", "early, accumulated") and s.update > 0
    for _ in range(_STEPS):
        loss = s.loss(model(s.idx), s.targets, s.idx)
        (new,) = torch.autograd.grad(loss, model.table)
        first = new if s.gradient != "none" and not losses else first
        previous = gradient
        gradient = gradient + new if s.gradient in ("accumulated", "early, accumulated") else new
        used = previous if is_early else gradient
        if s.gradient not in ("none", "erased", "early, erased"):
            model.table.data -= s.update * _LR * used
        if s.returned == "after":
            loss = s.loss(model(s.idx), s.targets, s.idx)
        losses.append((loss.exp() if s.returned == "perplexity" else loss).detach())
    had = s.update > 0 and s.gradient not in ("none", "erased", "early, erased")
    flags = (s.gradient != "none", s.update > 0, had, s.returned == "graph", is_early)
    return first, torch.stack(losses), model.table.detach() * _SCALE, *map(float, flags)


def _loss(logits: Tensor, targets: Tensor, reduction: str = "mean", **options: Any) -> Tensor:
    return cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction=reduction, **options)


def _always(value: Any) -> Way:
    return lambda _: value


def _with(**options: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda logits, targets, _: _loss(logits, targets, **options)


def _at(place: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda logits, targets, _: _loss(logits[place], targets[place])


_SOME: dict[str, Any] = {
    "the last position": (slice(None), -1),
    "the first position": (slice(None), 0),
    "the first window": slice(1),
    "the last window": slice(-1, None),
    "the positions after the first": (slice(None), slice(1, None)),
}

_TRAINING_LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy gets probabilities: it takes logits, and applies the softmax itself":
        lambda logits, targets, _: _loss(logits.softmax(-1), targets),
    "the losses are added up: take their mean, so that the batch's size does not change the step":
        _with(reduction="sum"),
    "the losses of a window are added up: take the mean over positions, too":
        lambda logits, targets, _: _loss(logits, targets) * targets.shape[1],
    "the loss has the wrong sign: the step would raise it": (lambda logits, targets, _: -_loss(logits, targets)),
    "the targets are shifted twice: targets[b, t] is what follows idx[b, t] already":
        lambda logits, targets, _: _loss(logits[:, :-1], targets[:, 1:]),
    "the targets are rolled, and so shifted twice: targets[b, t] is what follows idx[b, t]":
        lambda logits, targets, _: _loss(logits, targets.roll(-1, 1)),
    "the inputs are the targets: the model must predict what follows, which `targets` holds":
        lambda logits, _, idx: _loss(logits, idx),
    "the last position is left out, as if idx were shifted by hand: use all of `targets`":
        lambda logits, _, idx: _loss(logits[:, :-1], idx[:, 1:]),
    **{f"the loss is that of {which} only: all positions of all windows count": _at(at) for which, at in _SOME.items()},
    "logits and targets are flattened in different orders: join B and T of both":
        lambda logits, targets, _: _loss(logits, targets.mT),
    "a view or reshape of the logits stands in place of a transpose: it cuts the numbers anew":
        lambda logits, targets, _: cross_entropy(logits.reshape(len(logits), _V, targets.shape[1]), targets),
    "nll_loss gets logits: it takes log-probabilities, cross_entropy takes logits":
        lambda logits, targets, _: nn.functional.nll_loss(logits.flatten(0, 1), targets.flatten()),
    "nll_loss gets probabilities: it takes their logarithms":
        lambda logits, targets, _: nn.functional.nll_loss(logits.softmax(-1).flatten(0, 1), targets.flatten()),
    **{
        f"targets {token} are left out, as by ignore_index={token}: all count alike": _with(ignore_index=token)
        for token in range(_V)
    },
    **{
        f"the targets are smoothed, as by label_smoothing={share}: what came is certain": _with(label_smoothing=share)
        for share in (0.1, 0.2, 0.05, 0.01)
    },
    "the mean squared error stands in place of the cross-entropy":
        lambda logits, targets, _: nn.functional.mse_loss(logits, nn.functional.one_hot(targets, _V).float()),
}  # fmt: skip

TRAINING_STEP = Part(
    "training_step",
    (_batch, _larger_batch),
    (
        Step(
            "loss",
            "the loss is",
            _always(lambda logits, targets, _: _loss(logits, targets)),
            {said: _always(way) for said, way in _TRAINING_LOSSES.items()},
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
                "step() comes before backward(), and zero_grad() before step(), so there is no gradient when it "
                "needs one: "
                "the order is zero_grad(), backward(), step()": _always("early, erased"),
                "step() comes before backward(), so it takes the gradient of the step before: the order is "
                "zero_grad(), "
                "backward(), step()": _always("early"),
                "step() comes before backward(), and the gradients are not set to zero: the order is zero_grad(), "
                "backward(), step()": _always("early, accumulated"),
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
            "returned",
            "the returned value is",
            _always("number"),
            {
                "the loss is returned as a tensor that keeps its whole computation alive, so memory fills up: return "
                "loss.item() or loss.detach()": _always("graph"),
                "the loss after the step is returned: return the one before it": _always("after"),
                "the perplexity, exp of the loss, is returned": _always("perplexity"),
            },
            (
                "Whoever collects the losses needs numbers, not the graph of how they came about.",
                "loss.item() is the number.",
                "return loss.item()",
            ),
        ),
        Step("output", "the result is", _simulated, {}, ("Loss, gradient, update: in this order.",)),
    ),
    observe=_trained,
    most_mistakes=2,
    outputs=(
        "the gradient of the first step",
        "the losses of three steps",
        "the weights after three steps",
        "whether there was a backward()",
        "whether there was a step()",
        "whether step() had a gradient",
        "whether the returned loss holds the graph",
        "whether step() came before backward()",
    ),
)

EXERCISES = (
    Exercise("sampling", "temperature and top-p", "sampling", (TEMPERATURE, NUCLEUS)),
    Exercise("training", "a training step", "loop", (TRAINING_STEP,)),
)
