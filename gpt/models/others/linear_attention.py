"""linear_attention: v6 without softmax. A matrix of constant size stands for all earlier tokens.

Source: "Transformers are RNNs" (Katharopoulos et al., 2020), sections 3.2 to 3.4. A weight is phi(q) phi(k)^T, divided
by the sum of the query's weights, with phi(x) = elu(x) + 1. Products may then be grouped in two ways:

- parallel: (phi(q) phi(k)^T) v, masked, as in softmax attention. Its cost grows with the square of the window.
- recurrent: phi(q) (phi(k)^T v). Each token adds its product to the second factor, the state. The cost of a token is
  constant.

A window is computed in chunks ("Gated Linear Attention", Yang et al., 2023, section 2.2): each in the parallel form,
from the state after the tokens before it. The cost is proportional to the length, and a text can be read in windows of
any length. With windows of one token, this is the recurrent form.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import elu, pad

from gpt.config.choices import Depth, Length, Size
from gpt.models import v7_dropout
from gpt.models.kv_cache import run_recurrence

_CHUNK = 64  # tokens: the fastest of 32 to 512, measured on a processor core
_LEAST = -16.0  # for elu: below -17, it rounds to -1 in float32


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention of each head: q, k and v, (B, H, T, D) each -> (B, H, T, D)."""
    B, H, T, D = q.shape
    q, k = _features(q), _features(k)
    v = pad(v, (0, 1), value=1.0)  # (B, H, T, D + 1): the last channel becomes the sum of the weights
    chunks = [(q, k, v)]
    if isinstance(T, int):  # in an export, it is symbolic
        chunks = list(zip(*(x.split(_CHUNK, dim=-2) for x in (q, k, v)), strict=True))

    def recurrence(state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for q, k, v in chunks:
            weights = (q @ k.transpose(-2, -1)).tril()  # (B, H, T', T'), no token sees a later one
            outputs.append(weights @ v + q @ state)  # (B, H, T', D + 1)
            state = state + k.transpose(-2, -1) @ v  # (B, H, D, D + 1)
        return torch.cat(outputs, dim=-2), state

    y = run_recurrence(recurrence, q.new_zeros(B, H, D, D + 1), T)
    return y[..., :-1] / y[..., -1:]


def _features(x: Tensor) -> Tensor:
    """phi(x), which stays positive: where elu(x) rounds to -1, a query's weights could add up to 0."""
    return elu(x.clamp_min(_LEAST)) + 1


class GPT(v7_dropout.GPT):
    """v6 with heads of linear attention and a cache, as v7 without dropout."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout=0.0)
        for block in self.blocks:
            cast(Any, block).attention.attend = attend
