"""Answers to the exercises of docs/course/v9.md."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gpt.models.v9_counts import GPT


@torch.no_grad()
def untrained_probability() -> float:
    """The probability of the right token in an untrained model that remembers a text."""
    torch.manual_seed(0)
    text = torch.arange(210) % 7
    model = GPT(65, block_size=16, n_embd=16, n_head=2, n_layer=1, dropout=0.0, ngrams=3, memory=210).eval()
    model.remember(text)
    p = model(text[None, :16]).softmax(dim=-1)  # (1, T, V)
    return p[0, -1, text[16]].item()


def remembered(weights: Mapping[str, Tensor]) -> list[int]:
    """The token ids of the training text, from a model's state dict."""
    memory = weights["ngrams.memory"]
    return memory[memory >= 0].tolist()
