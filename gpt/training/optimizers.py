"""Optimizers: AdamW and Muon, and those of torch.optim; conf/optimizer/*.yaml names some.

The two are implemented here because the first step of a PyTorch optimizer imports the compiler (one second, 80 MB),
and because its bookkeeping matters in a small stage's short step. tests/training/test_optimizers.py compares each with
PyTorch's. Two of PyTorch's private kernels have public equivalents; benchmarks/private_kernels.py measures the gain.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from gpt.base.errors import RequestError, UserError
from gpt.base.runtime import has_bfloat16
from gpt.config.choices import Fraction, NonNegative
from gpt.registry import Registry

_OF_ANOTHER = "the checkpoint belongs to another model or optimizer"
_NUMBER, _GROUP = "number:", "group"  # in names of saved values
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

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint saves, by name."""
        return self.state

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Load what `tensors` gave. Raises UserError, before anything changes, if it is of another optimizer."""
        if {name: (x.shape, x.dtype) for name, x in saved.items()} != {
            name: (x.shape, x.dtype) for name, x in self.state.items()
        }:
            raise UserError(_OF_ANOTHER)
        for name, tensor in self.state.items():
            tensor.copy_(saved[name])

    def gradients(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The gradients of these parameters, without those that have none and stay as they are."""
        return {name: gradient for name in names if (gradient := self.parameters[name].grad) is not None}


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
            gradients = self.gradients(names)
            for name, new in gradients.items():
                momentum = self.state[f"momentum.{name}"]
                gradient = torch.where(keep, new, momentum)  # a skipped step keeps the momentum
                momentum.lerp_(gradient, 1 - self._momentum)
                directions.append(_wide(gradient.lerp(momentum, self._momentum)))
            updates = orthogonalised(torch.stack(directions)) if directions else ()
            for name, update in zip(gradients, updates, strict=True):
                parameter = self.parameters[name]
                rows, columns = parameter.shape
                parameter.mul_(1 - keep * (rate * self._weight_decay))
                scale = math.sqrt(max(1, rows / columns))
                parameter.add_(keep * (update.T if rows > columns else update), alpha=-rate * scale)
        self._adamw.step(rates["others"], skip)


class _OfTorch(Optimizer):
    """An optimizer of torch.optim, or another subclass of torch.optim.Optimizer; its state is its `state_dict()`."""

    kind: Any

    def __init__(self, model: nn.Module, learning_rate: float, **keywords: Any) -> None:
        super().__init__(model)
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
            if not isinstance(value, Tensor | float | None):  # bool and int are float here
                raise RequestError(f"optimizer={self.kind.__name__} keeps {name}: neither a tensor nor a number")
        groups = self._torch.param_groups
        # A group with a rate of its own keeps it, and the schedule scales it.
        self.peaks = {self._name(i): group.get("lr", learning_rate) for i, group in enumerate(groups)}

    def _name(self, group: int) -> str:
        return "all" if len(self._torch.param_groups) == 1 else str(group)

    def step(self, rates: dict[str, float], skip: Tensor) -> None:
        """One step for all parameters; reading `skip` waits for the device."""
        if skip:
            return
        for i, group in enumerate(self._torch.param_groups):
            group["lr"] = rates[self._name(i)]
        self._torch.step()

    def tensors(self) -> dict[str, Tensor]:
        """The tensors and numbers of its state, and the numbers of its groups of parameters except for the rate."""
        found: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            found |= {f"{key}.{name}": value for key, value in self._torch.state.get(parameter, {}).items()}
        for i, group in enumerate(self._torch.param_groups):
            values = {key: value for key, value in group.items() if key not in ("params", "lr") and _is_numeric(value)}
            found |= {f"{key}.{_GROUP}{i}": value for key, value in values.items()}
        tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
        numbers = {key: value for key, value in found.items() if key not in tensors and value is not None}
        return tensors | {f"{_NUMBER}{key}": _as_tensor(value) for key, value in numbers.items()}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Load what `tensors` gave, with PyTorch's `load_state_dict`."""
        state = self._torch.state_dict()
        ordered = [id(parameter) for group in self._torch.param_groups for parameter in group["params"]]
        places = {name: ordered.index(id(parameter)) for name, parameter in self.parameters.items()}
        state["state"] = {}
        if {key for key in saved if f".{_GROUP}" in key} != {key for key in self.tensors() if f".{_GROUP}" in key}:
            raise UserError(_OF_ANOTHER)
        try:
            for key, tensor in saved.items():
                what, _, name = key.removeprefix(_NUMBER).partition(".")
                value = tensor.tolist() if key.startswith(_NUMBER) else tensor.clone()
                if name in places:
                    self._check_shape(tensor, name)
                    state["state"].setdefault(places[name], {})[what] = value
                else:
                    group = state["param_groups"][int(name.removeprefix(_GROUP))]
                    group[what] = tuple(value) if isinstance(group[what], tuple) else value
            self._torch.load_state_dict(state)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(_OF_ANOTHER) from error

    def _check_shape(self, tensor: Tensor, name: str) -> None:
        """Raise ValueError for a tensor that is of another parameter: few are neither a number nor of its shape."""
        if tensor.dim() > 1 and tensor.dim() == self.parameters[name].dim() and tensor.numel() > 1:
            shape, own = tensor.shape, self.parameters[name].shape
            if any(x not in (1, y) for x, y in zip(shape, own, strict=True)):
                raise ValueError(f"{name} has another shape")


def _is_numeric(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(each, int | float) for each in value)
    return isinstance(value, Tensor | int | float)


def _as_tensor(value: Any) -> Tensor:
    """A number, or several, as a tensor that keeps it exactly."""
    kinds = {type(each) for each in (value if isinstance(value, tuple | list) else [value])}
    return torch.tensor(
        value, dtype=torch.bool if kinds == {bool} else torch.int64 if kinds == {int} else torch.float64
    )


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
            gradients = [p.grad for p in parameters if p.grad is not None]
            if not gradients:
                continue
            if len(gradients) < len(names):  # the others stay as they are
                has_gradient = [p.grad is not None for p in parameters]
                parameters, first, second = ([*compress(x, has_gradient)] for x in (parameters, first, second))
            # On MPS, PyTorch's kernel ignored found_inf until 2026 (PyTorch's pull request 186360).
            if hasattr(torch, "_fused_adamw_") and parameters[0].device.type != "mps":
                torch._fused_adamw_(
                    parameters,
                    gradients,
                    first,
                    second,
                    max_exp_avg_sqs=[],
                    state_steps=[self._steps] * len(gradients),
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
