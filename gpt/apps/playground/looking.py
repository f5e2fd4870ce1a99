"""A run's predictions after every character of a text, and which characters it attends to."""

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.models import block_size_of
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.distributions import checked
from gpt.training.evaluation import tokens_per_pass

_MOST_LOGITS, _MOST_WEIGHTS = 4_000_000, 16_000_000  # values in an answer: 16 and 64 MB


@torch.inference_mode()
def logits(trained: TrainedRun, text: str) -> Tensor:
    """The logits for the character after each character of the text: (N, V).

    Each is computed from the `block_size` characters before it or, in a text longer than that, from at least 7/8 of
    them: the windows advance by an eighth of their length. Raises RequestError for a character outside the vocabulary,
    or if the answer would be too large, and UserError for logits that contain NaN or Inf.
    """
    ids = trained.tokenizer.encode(text).to(trained.device)
    N, T = len(ids), block_size_of(trained.model)
    if N * len(trained.tokenizer) > _MOST_LOGITS:
        raise RequestError("the vocabulary of this run is too large for a text of this length: give a shorter one")
    starts = window_starts(N, T)
    rows: list[Tensor] = []
    for first in range(0, len(starts), windows := max(1, tokens_per_pass(trained.runtime, trained.model) // T)):
        some = starts[first : first + windows]
        computed = trained.model(torch.stack([ids[start : start + T] for start in some]))  # (windows, T, V)
        for window, start in zip(computed, some, strict=True):
            known = sum(len(row) for row in rows)
            rows.append(window[known - start :])
    return checked(torch.cat(rows)).float().cpu()


def window_starts(N: int, T: int) -> list[int]:
    """The starts of the windows of T characters in which a text of N characters is read."""
    return [*range(0, N - T, max(1, T // 8)), N - T] if N > T else [0]


@torch.inference_mode()
def attention(trained: TrainedRun, text: str) -> dict[str, Tensor]:
    """Every layer's attention over the last `block_size` characters: (H, T, T) each, row t the weights of character t.

    Raises RequestError as `logits` does.
    """
    T = min(len(text), block_size_of(trained.model))
    layers, heads = (trained.config.model.hyperparameters.get(key, 1) for key in ("n_layer", "n_head"))
    if layers * heads * T**2 > _MOST_WEIGHTS:
        raise RequestError("the attention of this run is too large to show over a text of this length")
    return {f"attention_{layer}": weights for layer, weights in enumerate(trained.attention(text))}
