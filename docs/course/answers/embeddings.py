"""The bigram model through a few channels: code of docs/course/embeddings.md."""

import torch
from torch import Tensor, nn

from gpt.data.tokenizers.characters import CharTokenizer


def pairs(text: str) -> Tensor:
    """How often each character follows each: (V, V)."""
    tokenizer = CharTokenizer(text)
    ids, V = tokenizer.encode(text), len(tokenizer)
    return torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).view(V, V).float()


def loss(model: nn.Module, counts: Tensor) -> Tensor:
    """The mean loss over all pairs, in nats per character."""
    logits = model(torch.arange(len(counts)))  # (V, V)
    return -(counts * logits.log_softmax(dim=-1)).sum() / counts.sum()


def trained(counts: Tensor, C: int) -> nn.Sequential:
    """A vector of C channels for each character, and a linear layer that makes logits of it."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(len(counts), C), nn.Linear(C, len(counts)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(1000):  # each on all pairs of the text at once
        optimizer.zero_grad()
        loss(model, counts).backward()
        optimizer.step()
    return model
