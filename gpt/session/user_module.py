"""Modules of one's own: what is checked before they are trained, and those of the calling program as stages."""

import contextlib
import copy
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gpt import registry
from gpt.base.errors import RequestError
from gpt.base.runtime import random_numbers_kept
from gpt.data.batch import Batch
from gpt.models import Stage

_FAULTS = {
    "has other logits each time": "they may depend on the tokens and torch's random numbers alone",
    "sees the future": "the last token changes earlier logits",
}
Module = nn.Module | Callable[[int], nn.Module]  # a model, or a function that makes one for a vocabulary of this size


class UserModule:
    """A module of the calling program, as a stage: itself, or what makes it."""

    def __init__(self, module: Module, target: str | None = None) -> None:
        if not callable(module):
            raise RequestError(f"module is {type(module).__name__}, but must be a torch.nn.Module or a function of V")
        kind = type(module) if isinstance(module, nn.Module) else module
        name = getattr(kind, "__qualname__", type(kind).__name__)
        stage = re.sub(r"[^\w-]", "_", name)[-100:]
        self.target = target or f"{stage}@python.{name}"
        self.module = module
        self.forward = getattr(module, "forward", module)  # tells which task it is for

    def __call__(self, vocab_size: int, block_size: Any = ..., structure: Any = ..., weights: Any = ...) -> nn.Module:
        """The module for a vocabulary of this size; the rest is its identity. Raises RequestError if it takes more."""
        del block_size, structure, weights
        if isinstance(self.module, nn.Module):
            return self.module
        try:
            inspect.signature(self.module).bind(vocab_size)
        except TypeError as error:
            example = "as in lambda V: Model(vocab_size=V)"
            raise RequestError(f"module is called with the size of the vocabulary alone, {example}: {error}") from None
        return self.module(vocab_size)

    def identity(self, model: Stage, *, has_own_weights: bool) -> dict[str, Any]:
        """What tells it apart from other modules; equal for repetitions.

        It has the window, a digest of the shapes and the printed model, and a digest of weights that were not drawn
        from the seed. Other differences in the code are not seen.
        """
        tensors = model.state_dict()
        structure = hashlib.sha256(repr([(name, tensor.shape) for name, tensor in tensors.items()]).encode())
        with contextlib.suppress(Exception):  # The caller's __repr__ can raise any error.
            structure.update(re.sub(r"0x[0-9a-f]+", "", repr(model)).encode(errors="surrogatepass"))  # no addresses
        known = {"block_size": model.block_size, "structure": structure.hexdigest()[:12]}
        if has_own_weights and isinstance(self.module, nn.Module):
            weights = hashlib.sha256()
            for tensor in tensors.values():
                weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            known["weights"] = weights.hexdigest()[:12]
        return known


@contextlib.contextmanager
def given(module: Module | str | None, target: str | None = None) -> Iterator[dict[str, Any]]:
    """The settings that choose a module of the calling program, or of a file, while the context lasts.

    `target`: of the run that is opened with it. Raises RequestError if it is no module.
    """
    if module is None or isinstance(module, str):
        if module is not None and target is not None:
            registry.load_user_code("model", module)
        yield {} if module is None else {"model": module}
        return
    code = UserModule(module, target)
    try:
        yield {"model": registry.give("model", code, code.target) and code}
    finally:
        registry.forget(code.target)  # lets go of a large module


@torch.no_grad()
def check_logits(model: Stage, batch: Batch, vocab_size: int, *, longest: int | None = None) -> None:
    """Raise RequestError unless a model has trainable weights, and logits (B, T, V) of the right kind.

    They must not depend on later tokens, on other rows of the batch, or on the call. `longest`: the tokens of a window
    that it is tried with, if not all.
    """
    name, was_training = type(model).__name__, model.training
    inputs = [x[:1, :longest] for x in batch.inputs if x.dim() > 1]  # without the starts of windows
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RequestError(f"{name} has no parameters to train: all of them have requires_grad=False")
    model.eval()
    with random_numbers_kept():
        logits = _called(model, {}, inputs)
    model.train(was_training)
    expected, found = (*inputs[-1].shape, vocab_size), type(logits).__name__
    if isinstance(logits, Tensor):
        if logits.shape == expected and logits.is_floating_point():
            _check_causal(model, inputs, vocab_size)
            _check_rows(model, inputs, vocab_size)
            return
        found = f"{tuple(logits.shape)}, {str(logits.dtype).removeprefix('torch.')}"
    raise RequestError(f"{name} must return logits (B, T, V), here {expected}, but returned {found}")


def _called(model: Stage, buffers: dict[str, Tensor], inputs: list[Tensor]) -> Any:
    """The output of a module. Raises RequestError if it writes to the token ids, because the targets share them."""
    given = [x.clone() for x in inputs]
    found = functional_call(model, buffers, tuple(given))
    if any(ours._version or not ours.equal(x) for ours, x in zip(given, inputs, strict=True)):
        name = type(model).__name__
        raise RequestError(f"{name} changes the token ids that it is given: let it change a copy, as in idx.clone()")
    return found


def check_trainable(model: Stage) -> None:
    """Raise RequestError for parameters and state that cannot be trained or saved."""
    for name, parameter in model.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise RequestError(f"{name} has no shape yet: call the module once before it is trained")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise RequestError(f"{name} is {type(value).__name__}: only tensors can be saved")


def _logits(model: Stage, inputs: list[Tensor], tokens: Tensor) -> Tensor:
    """The logits for these tokens, with the same dropout at each call, while the buffers of the model stay."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with random_numbers_kept():
        torch.manual_seed(0)
        return _called(model, buffers, [*(x.expand(len(tokens), -1) for x in inputs[:-1]), tokens]).float()


def _differ(logits: Tensor, others: Tensor) -> bool:
    tolerance = 1e-4 * logits.nan_to_num(0, 0, 0).abs().max().item()
    return not torch.allclose(logits, others, rtol=0, atol=tolerance, equal_nan=True)


def _check_causal(model: Stage, inputs: list[Tensor], vocab_size: int) -> None:
    """Raise RequestError if the logits before the last token depend on it or on the call, or have no gradient."""
    if inputs[-1].shape[1] == 1:
        return
    changed = inputs[-1].clone()
    changed[:, -1] = (changed[:, -1] + 1) % vocab_size
    was_training, tried = model.training, model
    with contextlib.suppress(Exception):  # A module with a lock, for example, cannot be copied.
        tried = copy.deepcopy(model)  # A pass may change the module.
    for training in (False, True):
        tried.train(training)
        with torch.set_grad_enabled(training):
            first, *others = (_logits(tried, inputs, x)[:, :-1] for x in (inputs[-1], inputs[-1], changed))
        model.train(was_training)
        if training and not first.requires_grad:
            raise RequestError(f"{type(model).__name__} detaches its logits from its parameters, so nothing is learned")
        for other, (fault, why) in zip(others, _FAULTS.items(), strict=True):
            if _differ(first, other):
                mode = "training" if training else "evaluation"
                raise RequestError(f"{type(model).__name__} {fault}: in {mode} mode, {why}")


def _check_rows(model: Stage, inputs: list[Tensor], vocab_size: int) -> None:
    """Raise RequestError if the logits of a row depend on the other one, in evaluation mode."""
    was_training, other = model.training, (inputs[-1] + 1) % vocab_size
    model.eval()
    rows = ((inputs[-1], inputs[-1]), (inputs[-1], other), (other, inputs[-1]))
    logits, with_second, with_first = (_logits(model, inputs, torch.cat(pair)) for pair in rows)
    model.train(was_training)
    if _differ(logits[0], with_second[0]) or _differ(logits[1], with_first[1]):
        raise RequestError(f"{type(model).__name__} mixes the rows of a batch: they must not affect each other")
