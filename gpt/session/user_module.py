"""Modules of one's own: what is checked before they are trained, and those of the calling program as stages."""

import contextlib
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from gpt import registry
from gpt.base.errors import RequestError
from gpt.models import Stage

Module = nn.Module | Callable[[int], nn.Module]  # a model, or a function that makes one for a vocabulary of this size


class UserModule:
    """A module of the calling program, as a stage: itself, or what makes it."""

    def __init__(self, module: Module, target: str | None = None) -> None:
        if not callable(module):
            raise RequestError(f"module is {type(module).__name__}, but must be a torch.nn.Module or a function of V")
        kind = type(module) if isinstance(module, nn.Module) else module
        name = getattr(kind, "__qualname__", type(kind).__name__)
        stage = re.sub(r"[^\w-]", "_", name)[-100:]
        self.module, self.target = module, target or f"{stage}@python.{name}"
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
def given_module(module: Module | str | None, target: str | None = None) -> Iterator[dict[str, Any]]:
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
