"""A run's predictions after every token of a text, which tokens it attends to, and the values of a forward pass."""

from collections.abc import Collection

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.inspection.attention_weights import AttentionWeights
from gpt.inspection.parts import Inside, Switched, can_be_opened, parts
from gpt.models import block_size_of
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import checked_logits
from gpt.training.evaluation import tokens_per_pass

_LONGEST = 2000  # tokens
_MOST = 16_000_000  # values in an answer: 64 MB; the logits of 318 tokens of GPT-2's vocabulary


@torch.inference_mode()
def logits(trained: TrainedRun, tokens: list[int], off: Collection[str] = ()) -> Tensor:
    """The logits for the token after each of N tokens: (N, V).

    Each is computed from the `block_size` tokens before it or, in a text longer than that, from at least 7/8 of them:
    the windows advance by an eighth of their length. `off` names parts of the run to turn off, as
    `inspection.parts.parts` does. Raises RequestError for a token outside the vocabulary, for a part that the run does
    not have, or if the answer would be too large, and UserError for logits that contain NaN or Inf.
    """
    ids = checked_ids(trained, tokens)
    N, T = len(ids), block_size_of(trained.model)
    if N * len(trained.tokenizer) > _MOST:
        raise RequestError("the vocabulary of this run is too large for a text of this length: give a shorter one")
    if not set(off) <= set(parts(trained.model)):
        raise RequestError("the run does not have these parts: reload the page")
    model = Switched(trained.model).without(off) if off else trained.model
    starts = window_starts(N, T)
    rows: list[Tensor] = []
    for first in range(0, len(starts), windows := max(1, tokens_per_pass(trained.runtime, trained.model) // T)):
        some = starts[first : first + windows]
        computed = model(torch.stack([ids[start : start + T] for start in some]))  # (windows, T, V)
        for window, start in zip(computed, some, strict=True):
            known = sum(len(row) for row in rows)
            rows.append(window[known - start :])
    return checked_logits(torch.cat(rows)).float().cpu()


def window_starts(N: int, T: int) -> list[int]:
    """The starts of the windows of T tokens in which a text of N tokens is read."""
    return [*range(0, N - T, max(1, T // 8)), N - T] if N > T else [0]


@torch.inference_mode()
def attention(trained: TrainedRun, tokens: list[int]) -> dict[str, Tensor]:
    """Every layer's attention over the last `block_size` tokens: (H, T, T) each, row t the weights of token t.

    Raises RequestError as `logits` does.
    """
    ids = checked_ids(trained, tokens)[-block_size_of(trained.model) :]
    T = len(ids)
    layers, heads = (trained.config.model.hyperparameters.get(key, 1) for key in ("n_layer", "n_head"))
    if layers * heads * T**2 > _MOST:
        raise RequestError("the attention of this run is too large to show over a text of this length")
    with AttentionWeights() as observed:
        trained.model(ids[None])
    return {f"attention_{layer}": weights[0].float().cpu() for layer, weights in enumerate(observed.weights)}


@torch.inference_mode()
def inside(trained: TrainedRun, tokens: list[int], row: int) -> dict[str, Tensor]:
    """The values of the forward pass over a window, for the token at `row`, as `inspection.parts.Inside` names them.

    Raises RequestError as `logits` does, for a row outside the window, or for a stage that is not on the ladder.
    """
    ids = checked_ids(trained, tokens)
    if not row < len(ids) <= block_size_of(trained.model):
        raise RequestError("the run does not read this token in this window: reload the page")
    if not can_be_opened(trained.model):
        raise RequestError("the inside of this stage cannot be shown")
    layers, channels = (trained.config.model.hyperparameters.get(key, 1) for key in ("n_layer", "n_embd"))
    if 2 * layers * channels * len(ids) > _MOST:  # keys and values
        raise RequestError("the inside of this run is too large to show over a text of this length")
    values = Inside(trained.model).values(ids[None], torch.tensor([row], device=trained.device))
    return {name: x[0].float().cpu() for name, x in values.items()}


def checked_ids(trained: TrainedRun, tokens: list[int]) -> Tensor:
    """The tokens, (N,). Raises RequestError if they are too many, or are not in the vocabulary."""
    if len(tokens) > _LONGEST:
        raise RequestError(f"this text has {len(tokens):,} tokens: give one of at most {_LONGEST:,}")
    if any(not 0 <= token < len(trained.tokenizer) for token in tokens):
        raise RequestError("the run does not have these tokens: reload the page")
    return torch.tensor(tokens, device=trained.device)
