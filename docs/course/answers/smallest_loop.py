"""The training loop of docs/course/loop.md, as small as it can be."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gpt.data.tokenizers.characters import CharTokenizer
from gpt.models.v1_bigram import Bigram


def smallest_loop(text: str, iterations: int) -> tuple[nn.Module, list[float]]:
    """Train a v1 on a text; return it, and the loss on each batch."""
    tokenizer = CharTokenizer(text)
    ids = tokenizer.encode(text)  # (N,)
    torch.manual_seed(0)
    model = Bigram(len(tokenizer), block_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(iterations):
        starts = torch.randint(len(ids) - 8, (32, 1))
        windows = ids[starts + torch.arange(9)]  # (B, T + 1)
        logits = model(windows[:, :-1])  # (B, T, V)
        loss = cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses
