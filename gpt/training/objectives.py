"""The training loss and the loss that evaluations report, both in nats per token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.base.errors import RequestError
from gpt.base.runtime import Runtime
from gpt.config.schema import TrainingConfig
from gpt.data.batch import Batch

BatchLoss = Callable[[nn.Module, Batch], Tensor]  # a scalar: the mean over every target of a batch
# It adds the gradient of a weighted loss to the gradients of the model's parameters, and returns it: see `Autograd`.
Gradient = Callable[[nn.Module, Batch, float], Tensor]

_SECOND_HEAD, _FIRST_HEAD = "second_head", "lm_head"


def second_head(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """The shapes of the tensors that `Objective.prepare` may add to a model with these tensor shapes."""
    heads = [name for name in shapes if name.startswith(f"{_FIRST_HEAD}.")]
    return {name.replace(_FIRST_HEAD, _SECOND_HEAD): shapes[name] for name in heads}


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy over every target of a batch: a scalar."""
    return _cross_entropy(model(*batch.inputs), batch.targets)


def target_losses(model: nn.Module, batch: Batch) -> Tensor:
    """The cross-entropy of each target of a batch, row by row: (B * T,)."""
    return _cross_entropy(model(*batch.inputs), batch.targets, reduction="none")


class _SecondHead(nn.Linear):
    """An output layer that, in training, reads the input of the first output layer in the last forward pass."""

    def __init__(self, first: nn.Linear) -> None:
        super().__init__(first.in_features, first.out_features)
        self.to(first.weight)
        nn.init.zeros_(self.weight)  # The first updates are not disturbed.
        self._read: list[Tensor] = []  # at most one: (B, T, C)
        first.register_forward_pre_hook(self._listen)

    def logits(self) -> Tensor:
        """The logits of the token after the next: (B, T, V)."""
        return self(self._read.pop())

    def _listen(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        if self.training:
            self._read[:] = inputs


@dataclass(frozen=True)
class Objective:
    """The loss to train with.

    label_smoothing: the share of every target's probability that is spread over the vocabulary ("Rethinking the
    Inception Architecture for Computer Vision", Szegedy et al., 2016, section 7).

    multi_token: the weight of a second loss. A second output layer reads the input of the first and predicts the token
    after the next, while the model is in training mode ("Better & Faster Large Language Models via Multi-token
    Prediction", Gloeckle et al., 2024, section 2).
    """

    label_smoothing: float = 0.0
    multi_token: float = 0.0

    @classmethod
    def of(cls, training: TrainingConfig) -> Self:
        """The objective that a configuration describes."""
        return cls(training.label_smoothing, training.multi_token)

    def prepare(self, model: nn.Module) -> None:
        """Add the layer that the objective trains besides the model, if any.

        Raises RequestError if the model lacks `lm_head`.
        """
        if not self.multi_token:
            return
        if isinstance(getattr(model, _SECOND_HEAD, None), _SecondHead):
            return  # the module was trained before
        head = getattr(model, _FIRST_HEAD, None)
        if not isinstance(head, nn.Linear):
            raise RequestError(
                f"training.multi_token needs a stage with an output layer {_FIRST_HEAD}, which this one lacks: set it "
                "to 0"
            )
        model.add_module(_SECOND_HEAD, _SecondHead(head))

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch: a scalar."""
        targets = batch.targets  # (B, T)
        loss = _cross_entropy(model(*batch.inputs), targets, self.label_smoothing)
        if not (self.multi_token and model.training) or targets.shape[1] == 1:  # one token has no token after next
            return loss
        second = cast(_SecondHead, model.get_submodule(_SECOND_HEAD)).logits()  # (B, T, V)
        return loss + self.multi_token * _cross_entropy(second[:, :-1], targets[:, 1:], self.label_smoothing)


@dataclass(frozen=True)
class Autograd:
    """The gradient of a loss, by PyTorch's automatic differentiation."""

    loss: BatchLoss
    runtime: Runtime

    def __call__(self, model: nn.Module, batch: Batch, weight: float) -> Tensor:
        """Add the gradient of the weighted loss to the gradients of the parameters; returns that loss, a scalar."""
        loss = self.loss_of(model, batch)
        if weight != 1:
            loss = loss * weight
        if not loss.requires_grad:
            raise RequestError(f"{type(model).__name__} detaches its logits from its parameters: nothing is learned")
        loss.backward()
        return loss.detach()

    def loss_of(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch in the precision of the runtime: a scalar."""
        with self.runtime.autocast():
            return self.loss(model, batch)


def _cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, *, reduction: str = "mean") -> Tensor:
    flat = logits.flatten(0, 1).float()
    return cross_entropy(flat, targets.flatten(), label_smoothing=label_smoothing, reduction=reduction)
