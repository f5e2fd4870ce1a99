"""v1: a bigram table by counting. Replace each BLANK, then run `python -m exercises v1`.

The idea: docs/course/v1.md.
"""

import torch
from torch import Tensor

from exercises import BLANK


def count_pairs(ids: Tensor, vocab_size: int) -> Tensor:
    """ids: (N,) token ids -> (V, V): how often token j follows token i, in row i and column j."""
    return BLANK  # (V, V): zeros, and 1 more for each pair of neighbours


def probabilities(counts: Tensor) -> Tensor:
    """counts: (V, V) -> (V, V): row i holds the probabilities of what follows token i."""
    smoothed = BLANK  # (V, V): each count and 1, so that no pair is impossible
    return BLANK  # (V, V): each row adds up to 1


def loss(p: Tensor, ids: Tensor) -> Tensor:
    """p: (V, V) as above, ids: (N,) -> the mean of -ln p over the pairs of neighbours, in nats per token."""
    picked = BLANK  # (N - 1,): the probability of each token after the one before it
    return BLANK
