"""Answers to the exercises of docs/course/v1.md."""

import torch
from torch import Tensor

from gpt.data.tokenizers.characters import CharTokenizer


def entropy(text: str) -> float:
    """The entropy of the characters of a text, in nats."""
    counts = CharTokenizer(text).encode(text).bincount()
    p = counts / counts.sum()
    return -(p * p.log()).sum().item()


def bigram_counts(text: str, tokenizer: CharTokenizer) -> Tensor:
    """How often each character follows each: (V, V)."""
    ids, V = tokenizer.encode(text), len(tokenizer)
    pairs = ids[:-1] * V + ids[1:]
    return pairs.bincount(minlength=V * V).view(V, V)


def conditional_entropy(text: str) -> float:
    """The mean entropy of the next character, given the current one, in nats."""
    counts = bigram_counts(text, CharTokenizer(text)).double()
    p = counts / counts.sum(dim=1, keepdim=True)  # of the next character
    return -(torch.xlogy(counts, p) / counts.sum()).sum().item()


def loss_of_counts(train: str, val: str) -> float:
    """The loss on `val` of the bigram table that is counted in `train`, in nats per character."""
    tokenizer = CharTokenizer(train + val)
    counts = bigram_counts(train, tokenizer) + 1
    log_p = (counts / counts.sum(dim=1, keepdim=True)).log()
    ids = tokenizer.encode(val)
    return -log_p[ids[:-1], ids[1:]].mean().item()
