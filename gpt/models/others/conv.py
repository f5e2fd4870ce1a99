"""conv: dilated causal convolutions. Each layer reads two tokens, twice as far apart as in the layer before.

Source: "WaveNet" (van den Oord et al., 2016), sections 2.1, 2.3 and 2.4, without its skip connections to the output:
the output layer reads the residual stream.
"""

import torch
from torch import Tensor, nn

from gpt.config.choices import Depth, Length, Size
from gpt.models.kv_cache import Cached, with_left_context


class Block(nn.Module):
    """A gated convolution of width 2, added to its input."""

    def __init__(self, n_embd: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.convolution = nn.Linear(2 * n_embd, 2 * n_embd)  # of a token and the one `dilation` tokens before it
        self.projection = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        earlier = with_left_context(x, self.dilation)[:, : x.shape[1]]  # (B, T, C), zeros before the first token
        value, gate = self.convolution(torch.cat([earlier, x], dim=-1)).chunk(2, dim=-1)  # (B, T, C) each
        return x + self.projection(value.tanh() * gate.sigmoid())


class GPT(Cached):
    """embedding -> L blocks, with dilations 1, 2, 4, ... -> logits."""

    slides = True  # A convolution depends on distances only.

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_layer: Depth) -> None:
        super().__init__()
        if 2**n_layer > block_size:
            raise ValueError(f"n_layer={n_layer} reads 2^{n_layer} tokens, more than block_size={block_size}")
        self.block_size = block_size
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, dilation=2**i) for i in range(n_layer)))
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
