"""Softmax and the loss. Replace each BLANK, then run `python -m exercises softmax`.

The idea: docs/course/softmax.md. PyTorch has both; here you write them with sums and exponentials.
"""

import torch
from torch import Tensor

from exercises import BLANK


def softmax(x: Tensor) -> Tensor:
    """x: (N, V) scores, however large -> (N, V) probabilities; each row adds up to 1."""
    shifted = BLANK  # (N, V): the same softmax, without overflow
    exponentials = BLANK  # (N, V)
    return BLANK  # (N, V)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """logits: (N, V), targets: (N,) token ids -> the mean of -ln p of the targets, in nats."""
    p = BLANK  # (N, V)
    picked = BLANK  # (N,): the probability of each example's target
    return BLANK
