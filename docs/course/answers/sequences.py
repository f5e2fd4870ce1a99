"""Answers to the exercises of docs/course/sequences.md."""

import torch
from torch import Tensor

from gpt.data.vocabulary import PAD
from gpt.models.transformer import EncoderBlock, Transformer


@torch.no_grad()
def same_when_padded() -> bool:
    """Whether the logits of a pair stay the same if its source is padded."""
    torch.manual_seed(0)
    model = Transformer(
        50, block_size=20, n_embd=32, n_head=4, n_layer=2, n_hidden=64, dropout=0.0, norm="pre", shared_embedding=True
    ).eval()
    source, target = torch.randint(4, 50, (1, 6)), torch.randint(4, 50, (1, 5))
    padded = torch.nn.functional.pad(source, (0, 3), value=PAD)
    return torch.allclose(model(source, target), model(padded, target), atol=1e-5)


@torch.no_grad()
def is_equivariant() -> bool:
    """Whether permuting the vectors before an encoder block is the same as permuting them after it."""
    torch.manual_seed(0)
    block = EncoderBlock(n_embd=32, n_head=4, n_hidden=64, dropout=0.0, norm="pre").eval()
    x, order, mask = torch.randn(1, 6, 32), torch.randperm(6), torch.ones(1, 1, 1, 6, dtype=torch.bool)
    return torch.allclose(block(x[:, order], mask), block(x, mask)[:, order], atol=1e-5)


def shifted(position: Tensor, distance: int) -> Tensor:
    """Compute a position vector from the one that is `distance` earlier: (C,) -> (C,)."""
    C = len(position)
    angle = distance * 10_000 ** (-torch.arange(0, C, 2) / C)  # of each pair of channels
    sine, cosine = position.view(-1, 2).unbind(-1)
    pair = (sine * angle.cos() + cosine * angle.sin(), cosine * angle.cos() - sine * angle.sin())
    return torch.stack(pair, dim=-1).flatten()
