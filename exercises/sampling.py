"""Sampling with a temperature and top-p. Replace each BLANK, then run `python -m exercises sampling`.

The idea: docs/course/sampling.md.
"""

import torch
from torch import Tensor

from exercises import BLANK


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """logits: (N, V), temperature > 0 -> (N, V): a low temperature prefers the likeliest token more."""
    scaled = BLANK  # (N, V)
    return BLANK  # (N, V): each row adds up to 1


def nucleus(p: Tensor, top_p: float) -> Tensor:
    """p: (N, V) probabilities -> (N, V): the fewest likeliest tokens that reach top_p together, the others at 0."""
    ranked, order = p.sort(dim=-1, descending=True)  # (N, V) each: the likeliest first, and which tokens they are
    before = BLANK  # (N, V): what the likelier tokens add up to
    kept = BLANK  # (N, V): 0 outside the nucleus
    unranked = BLANK  # (N, V): in the order of the vocabulary again
    return BLANK  # (N, V): each row adds up to 1


def sample(logits: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """logits: (N, V) -> (N,): a token for each row."""
    return torch.multinomial(nucleus(probabilities(logits, temperature), top_p), 1).squeeze(-1)
