"""The ladder, one stage a module, in reading order: each is the previous one plus a single idea.

Beside it stand the encoder-decoder (transformer.py), other architectures (others/), the stages of records (records/),
and ablations (variants/).

A stage is a `torch.nn.Module` with

- `forward(idx)`: (B, T) int64 token ids -> (B, T, V) logits, where position t has seen tokens 0 .. t;
- `block_size`: the longest T that it accepts;
- a constructor that takes `vocab_size`, `block_size` and any other hyperparameters. Its annotations are their schema:
  names, types and ranges (see `gpt.config.choices`).
A base class says what else a stage can do:

- `Cached` (kv_cache.py): text is generated with a cache of keys and values, or of the states of a recurrence;
- `Remembering`: it receives the training text before the first iteration, and `forward` takes the start of
  each window in that text.

A stage whose output layer is `lm_head` can also be trained to predict the token after the next
(gpt/training/objectives.py). A module can have a `label`, its name in pictures of the stage
(gpt/inspection/dataflow.py). An encoder-decoder is a stage with other methods:

- `forward(source, target)`: (B, S) and (B, T) int64 token ids, padded with `padding_idx` -> (B, T, V) logits;
- `encode(source) -> EncoderOutput` and `decode(target, encoder_output)`, the two halves of `forward`; `decode` reads
  and extends the `KVCache` in `EncoderOutput.cache`, if there is one.

Symbols: B batch, T time, C channels (n_embd), H heads, D head size, V vocabulary, L layers.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, cast

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from gpt.base.errors import RequestError
from gpt.registry import Choice, Registry


def _is_stage(target: Any) -> bool:
    is_module = isinstance(target, type) and issubclass(target, nn.Module)
    return is_module and {"vocab_size", "block_size"} <= inspect.signature(target).parameters.keys()


_CONTRACT = "a torch.nn.Module whose constructor takes vocab_size and block_size"
_TRUSTED = {"gpt", "torch", "builtins", "collections", "typing", "types"}
STAGE = Registry("model", "a stage", "gpt.models", _CONTRACT, accepts=_is_stage, given=("vocab_size", "padding_idx"))


class Stage(nn.Module):
    """A stage, for type checkers: its class need not derive from this one."""

    block_size: int  # the longest window that it takes


class TokenIds(Protocol):
    """A tensor of token ids, (N,), or a file that is read like one."""

    def __getitem__(self, index: slice, /) -> Tensor: ...


class Remembering(nn.Module, ABC):
    """A stage that keeps the training text: its `forward` takes (idx, start), and its weights contain the text.

    `start`, (B,): where each window begins in the training split; None for other windows.
    """

    ngrams: Any  # NGrams of ngrams.py

    @abstractmethod
    def remember(self, ids: TokenIds) -> None:
        """Remember the training split, (N,) token ids, before the first iteration."""


def build(choice: Choice, vocab_size: int) -> Stage:
    """The stage that `choice` names, newly initialised. Raises RequestError if it names anything else."""
    return checked(STAGE.build(choice, vocab_size=vocab_size))


def checked(model: Any) -> Stage:
    """The model, as a stage. Raises RequestError unless it is a module with parameters that sets its `block_size`."""
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise RequestError(f"a model is made of {name}, which is not a torch.nn.Module")
    size = getattr(model, "block_size", None)
    if not isinstance(size, int) or size < 1:
        raise RequestError(f"{name} must set self.block_size, the longest window that it takes, to 1 or more")
    if next(model.parameters(), None) is None:
        raise RequestError(f"{name} has no parameters")
    return cast(Stage, model)


def has_package_code_only(model: nn.Module) -> bool:
    """Whether a pass through a module, forward or backward, runs only the code of this package and of PyTorch.

    If so, no part of it has a class, a hook or a replaced method from elsewhere.
    """
    modules, tensors = [*model.modules()], [*model.parameters(), *model.buffers()]
    if _has_any_global_hook() or any(x._backward_hooks or x._post_accumulate_grad_hooks for x in tensors):
        return False
    classes = {own for part in (*modules, *tensors) for own in type(part).__mro__}
    return all(_package(x) in _TRUSTED for x in (*modules, *tensors, *_functions(*classes, *modules)))


def _functions(*holders: type | nn.Module) -> Iterator[Any]:
    """The functions that are attributes of classes and modules or, like hooks, in a dictionary there."""
    for holder in holders:
        for name, value in vars(holder).items():
            # `forward` is the only public method of nn.Module in a pass; transformers adds another, `smart_apply`.
            if holder is not nn.Module or name.startswith("_") or name == "forward":
                yield from filter(callable, value.values() if isinstance(value, dict) else [value])


def _package(value: Any) -> str:
    """The package of a function, or of an object's class."""
    function = getattr(value, "__func__", value)  # of a method
    module: str = getattr(function, "__globals__", {}).get("__name__") or type(function).__module__
    return module.partition(".")[0]
