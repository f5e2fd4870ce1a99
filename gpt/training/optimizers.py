"""Optimizers: AdamW and Muon, and those of torch.optim; conf/optimizer/*.yaml names some.

The two are implemented here because the first step of a PyTorch optimizer imports the compiler (one second, 80 MB),
and because its bookkeeping matters in a small stage's short step. tests/training/test_optimizers.py compares each with
PyTorch's. Two of PyTorch's private kernels have public equivalents; benchmarks/private_kernels.py measures the gain.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from gpt.base.errors import RequestError
from gpt.base.runtime import has_bfloat16
from gpt.config.choices import Fraction, NonNegative
from gpt.registry import Registry

_EPSILON = 1e-8  # AdamW's, in PyTorch and in the paper


class Optimizer(ABC):
    """Updates a model's parameters from their gradients.

    A subclass takes the model, training.learning_rate and its own hyperparameters, keeps its moments in `state`, and
    names its groups of parameters in `peaks`, each with its learning rate.
    """

    peaks: dict[str, float]  # the learning rate of each group, before the schedule

    def __init__(self, model: nn.Module) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.state: dict[str, Tensor] = {}  # what a checkpoint saves, by name; changed in place only

    @abstractmethod
    def step(self, rates: dict[str, float], skip: Tensor) -> None:
        """Update the parameters with the learning rate of each group; where the scalar `skip` is 1, change nothing.

        `skip` is on the device; reading it would make every step wait.
        """

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def allocate(self) -> None:  # noqa: B027  # most have their whole state from the start
        """Create the whole state before it is restored; the parameters may change, and are restored with it."""

    def gradient(self, name: str) -> Tensor:
        """The gradient of the parameter `name`. Raises RequestError if there is none."""
        gradient = self.parameters[name].grad
        if gradient is None:
            raise RequestError(f"the parameter {name} of the model has no gradient: the loss does not depend on it")
        return gradient


OPTIMIZER = Registry(
    "optimizer",
    "an optimizer",
    "gpt.training",
    "a subclass of gpt.training.optimizers.Optimizer",
    lambda target: inspect.isclass(target) and issubclass(target, Optimizer | torch.optim.Optimizer),
    given=("model", "learning_rate", "params", "lr"),
    also="torch.optim",
    adapt=lambda kind: kind if issubclass(kind, Optimizer) else _of_torch(kind),
)


class AdamW(Optimizer):
    """AdamW with weight decay on matrices and embeddings only, not on biases and LayerNorm gains.

    Source: "Decoupled Weight Decay Regularization" (Loshchilov and Hutter, 2019), algorithm 2.
    """

    def __init__(
        self, model: nn.Module, learning_rate: float, weight_decay: NonNegative, beta1: Fraction, beta2: Fraction
    ) -> None:
        super().__init__(model)
        self.peaks = {"all": learning_rate}
        self._adamw = AdamWGroup(self, list(self.parameters), weight_decay, beta1, beta2)

    @torch.no_grad()
    def step(self, rates: dict[str, float], skip: Tensor) -> None:
        """One step for all parameters."""
        self._adamw.step(rates["all"], skip)


class Muon(Optimizer):
    """Muon for the matrices of linear layers, AdamW for embeddings, biases, gains and the output layer.

    Muon orthogonalises the momentum, so that an update moves a matrix equally far in every direction. The update is
    the same as in `torch.optim.Muon`.

    Source: "Muon: An optimizer for hidden layers in neural networks" (Jordan et al., 2024).
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        matrix_learning_rate: NonNegative,
        matrix_weight_decay: NonNegative,
        momentum: Fraction,
        weight_decay: NonNegative,
        beta1: Fraction,
        beta2: Fraction,
    ) -> None:
        super().__init__(model)
        linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        self._matrices = [name for name in self.parameters if name in linear and not name.startswith("lm_head.")]
        others = [name for name in self.parameters if name not in self._matrices]
        self._momentum, self._weight_decay = momentum, matrix_weight_decay
        self._by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)  # orthogonalised together
        for name in self._matrices:
            self._by_shape[tuple(sorted(self.parameters[name].shape))].append(name)
        self.peaks = {"matrices": matrix_learning_rate, "others": learning_rate}
        self.state |= {f"momentum.{name}": torch.zeros_like(self.parameters[name]) for name in self._matrices}
        self._adamw = AdamWGroup(self, others, weight_decay, beta1, beta2)

    @torch.no_grad()
    def step(self, rates: dict[str, float], skip: Tensor) -> None:
        """One step: Muon's for the matrices, AdamW's for the others."""
        rate, keep = rates["matrices"], skip == 0
        for names in self._by_shape.values():
            directions = []
            for name in names:
                momentum = self.state[f"momentum.{name}"]
                gradient = torch.where(keep, self.gradient(name), momentum)  # a skipped step keeps the momentum
                momentum.lerp_(gradient, 1 - self._momentum)
                directions.append(_wide(gradient.lerp(momentum, self._momentum)))
            for name, update in zip(names, orthogonalised(torch.stack(directions)), strict=True):
                parameter = self.parameters[name]
                rows, columns = parameter.shape
                parameter.mul_(1 - keep * (rate * self._weight_decay))
                scale = math.sqrt(max(1, rows / columns))
                parameter.add_(keep * (update.T if rows > columns else update), alpha=-rate * scale)
        self._adamw.step(rates["others"], skip)


class _OfTorch(Optimizer):
    """An optimizer of torch.optim, or another subclass of torch.optim.Optimizer."""

    kind: Any

    def __init__(self, model: nn.Module, learning_rate: float, **keywords: Any) -> None:
        super().__init__(model)
        self.peaks = {"all": learning_rate}
        tried = nn.Parameter(torch.zeros(2, 2))
        tried.grad = torch.zeros(2, 2)
        try:
            self._torch, trial = (
                self.kind(parameters, lr=learning_rate, **keywords)
                for parameters in ([*self.parameters.values()], [tried])
            )
            trial.step()
        except Exception as error:  # a wrong keyword, or another way to be called, such as LBFGS's
            raise RequestError(f"optimizer={self.kind.__name__}: {' '.join(str(error).split())}") from error
        for name, value in trial.state[tried].items():
            if not isinstance(value, Tensor | None):
                raise RequestError(f"optimizer={self.kind.__name__} keeps {name}: it is no tensor, so it is not saved")

    def step(self, rates: dict[str, float], skip: Tensor) -> None:
        """One step for all parameters; reading `skip` waits for the device."""
        if skip:
            return
        for group in self._torch.param_groups:
            group["lr"] = rates["all"]
        for name in self.parameters:
            self.gradient(name)
        self._torch.step()
        self._name_state()

    def allocate(self) -> None:
        """Take a step, because PyTorch creates the state in the first one."""
        for parameter in self.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        self._torch.step()
        self.zero_grad()
        self._name_state()

    def _name_state(self) -> None:
        kept = {name: self._torch.state[parameter] for name, parameter in self.parameters.items()}
        tensors = ((f"{key}.{name}", value) for name, values in kept.items() for key, value in values.items())
        self.state = {key: value for key, value in tensors if value is not None}


def _of_torch(kind: type[torch.optim.Optimizer]) -> type[Optimizer]:
    untyped = [each.replace(annotation=Any) for each in inspect.signature(kind).parameters.values()]  # it takes tensors
    return type(
        kind.__name__,
        (_OfTorch,),
        {"kind": kind, "__module__": "torch.optim", "__signature__": inspect.Signature(untyped)},
    )


# Parameters that decay alike: their names, themselves, their first and second moments, and the decay.
_Group = tuple[list[str], list[Tensor], list[Tensor], list[Tensor], float]


class AdamWGroup:
    """AdamW for some of an optimizer's parameters; bit-identical to `torch.optim.AdamW(fused=True)`."""

    def __init__(self, optimizer: Optimizer, names: list[str], weight_decay: float, beta1: float, beta2: float) -> None:
        self._optimizer, self._betas = optimizer, (beta1, beta2)
        parameters, state = optimizer.parameters, optimizer.state
        if names:  # one count per group; on the device for the kernel
            self._steps = state[f"steps.{names[0]}"] = torch.zeros((), device=parameters[names[0]].device)
        state |= {f"first_moment.{name}": torch.zeros_like(parameters[name]) for name in names}
        state |= {f"second_moment.{name}": torch.zeros_like(parameters[name]) for name in names}
        # Listed once: building the lists would take longer than a small stage's step.
        self._groups: list[_Group] = []
        for are_matrices, decay in ((True, weight_decay), (False, 0.0)):
            group = [name for name in names if (parameters[name].dim() >= 2) == are_matrices]
            first, second = ([state[f"{which}_moment.{name}"] for name in group] for which in ("first", "second"))
            if group:
                self._groups.append((group, [parameters[name] for name in group], first, second, decay))

    def step(self, rate: float, skip: Tensor) -> None:
        """One step at this learning rate; where the scalar `skip` is 1, nothing changes."""
        if self._groups:
            self._steps += 1 - skip
        beta1, beta2 = self._betas
        for names, parameters, first, second, decay in self._groups:
            gradients = [self._optimizer.gradient(name) for name in names]
            # On MPS, PyTorch's kernel ignored found_inf until 2026 (PyTorch's pull request 186360).
            if hasattr(torch, "_fused_adamw_") and parameters[0].device.type != "mps":
                torch._fused_adamw_(
                    parameters,
                    gradients,
                    first,
                    second,
                    max_exp_avg_sqs=[],
                    state_steps=[self._steps] * len(names),
                    lr=rate,
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=decay,
                    eps=_EPSILON,
                    amsgrad=False,
                    maximize=False,
                    found_inf=skip,
                )
            elif not skip:
                for p, gradient, m, v in zip(parameters, gradients, first, second, strict=True):
                    p.mul_(1 - rate * decay)
                    m.lerp_(gradient, 1 - beta1)
                    v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                    deviation = (v.sqrt() / math.sqrt(1 - beta2 ** self._steps.item())).add_(_EPSILON)
                    p.addcdiv_(m, deviation, value=-rate / (1 - beta1 ** self._steps.item()))


def has_nonfinite(tensors: list[Tensor]) -> Tensor:
    """1 if any of the tensors contains NaN or Inf, else 0: a scalar on their device."""
    found = torch.zeros((), device=tensors[0].device)
    if hasattr(torch, "_amp_foreach_non_finite_check_and_unscale_"):
        # The gradient-scaling kernel, which also multiplies by a scale, here 1.
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, torch.ones_like(found))
        return found
    return found + ~torch.stack([tensor.isfinite().all() for tensor in tensors]).all()


def orthogonalised(matrices: Tensor) -> Tensor:
    """Approximately the orthogonal matrix closest to each of K matrices, (K, M, N): five Newton-Schulz iterations.

    The singular values end between about 0.7 and 1.2, which is close enough for an update. The iterations need only
    matrix products, in bfloat16 where the processor has instructions for it. M <= N is faster than M > N.

    Source: "Muon" (Jordan et al., 2024), with its quintic coefficients.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if has_bfloat16(matrices.device) else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # No singular value is above 1.
    for _ in range(5):
        gram = x @ x.mT  # (K, M, M)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # (K, M, N)
    return x


def _wide(matrix: Tensor) -> Tensor:
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
