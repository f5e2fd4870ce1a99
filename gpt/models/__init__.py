"""The stages, one module each, in the order to read them: each is the one before plus a single idea.

A stage is a `torch.nn.Module` with

- `forward(idx)`: (B, T) int64 token ids -> (B, T, V) logits, where position t has seen tokens 0 .. t;
- `block_size`: the longest T that it accepts;
- a constructor that takes `vocab_size`, `block_size` and any other hyperparameters. Its annotations are their schema:
  names, types and ranges (see `gpt.choices`);
- optionally `uses_cache = True` as a class attribute: text is generated with a key-value cache (see `kv_cache`),
  and `slides = True`: a full cache drops its oldest token, because positions are relative;
- optionally `remember(ids)`, called before training with the token ids of the training split, (N,); `forward` then also
  takes `start`, (B,), where each window begins in that split;
- optionally `multi_token` as an attribute: if it is above 0, `next_two`, which takes what `forward` takes, returns the
  logits of the next token and of the one after it, and training adds so much of the second one's loss.

An encoder-decoder is a stage too. It differs in

- `forward(source, target)`: (B, S) and (B, T) int64 token ids, padded with PAD -> (B, T, V) logits;
- `encode(source) -> EncoderOutput` and `decode(target, encoder_output)`, the two halves of `forward`; `decode` reads
  and extends the `KVCache` in `EncoderOutput.cache`, if there is one.

Symbols: B batch, T time, C channels (n_embd), H heads, D head size, V vocabulary, L layers.
"""

import inspect
from typing import Any, cast

from torch import nn

from gpt.choices import Choice, Kind
from gpt.errors import RequestError


def _is_stage(target: Any) -> bool:
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        return False
    return {"vocab_size", "block_size"} <= inspect.signature(target).parameters.keys()


_CONTRACT = "a torch.nn.Module whose constructor takes vocab_size and block_size"
STAGE = Kind("model", "a stage", "gpt.models", _CONTRACT, accepts=_is_stage, given=("vocab_size",))


def build(choice: Choice, vocab_size: int) -> nn.Module:
    """The stage that `choice` names, freshly initialised. Raises RequestError for anything else."""
    model = STAGE.build(choice, vocab_size=vocab_size)
    if not isinstance(getattr(model, "block_size", None), int):
        raise RequestError(f"{choice.target} has to set self.block_size, the longest window that it takes")
    return model


def block_size_of(model: nn.Module) -> int:
    """The longest window that a stage takes."""
    return cast(int, model.block_size)
