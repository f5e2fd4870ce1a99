"""Backpropagation through attention, by hand. Replace each BLANK, then run `python -m exercises backward`.

The forward pass is that of docs/course/v2.md, and docs/course/without_torch.md explains the way back. For Y = A B, the
gradients are dA = dY B^T and dB = A^T dY.
"""

import torch
from torch import Tensor

from exercises import BLANK


def attention_backward(
    q: Tensor, k: Tensor, v: Tensor, weights: Tensor, d_output: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, (B, T, D) each, from that of the output, d_output: (B, T, D), without autograd.

    The forward pass was: scores = q @ k^T / sqrt(D); weights = softmax(masked scores), (B, T, T); output = weights @ v.
    """
    D = q.shape[-1]
    d_v = BLANK  # (B, T, D)
    d_weights = BLANK  # (B, T, T)
    d_scores = BLANK  # (B, T, T): through the softmax; where the mask was, weights are 0, and so is this
    d_q = BLANK  # (B, T, D)
    d_k = BLANK  # (B, T, D)
    return d_q, d_k, d_v
