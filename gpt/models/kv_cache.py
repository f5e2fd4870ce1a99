"""What a decoder remembers: the keys and values of the tokens it has already read.

Without it, every new token pays for a forward pass over the whole context; with it, for one token.
"""

import torch
from torch import Tensor


class KVCache:
    """Keys and values of up to `size` tokens for every layer, in memory that is taken once.

    `length` is the number of tokens read so far; the model moves it on after each forward pass.
    """

    def __init__(
        self,
        *,
        n_layer: int,
        batch_size: int,
        n_head: int,
        size: int,
        head_size: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.size = size
        self.length = 0
        # Layer, key or value, then as attention wants it.
        self.memory = torch.zeros(n_layer, 2, batch_size, n_head, size, head_size, device=device, dtype=dtype)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k and v, (B, H, T, D) each, behind what `layer` has, and return all it has: (B, H, length + T, D).

        Raises ValueError where they do not fit, or where several tokens come behind others: attention's
        causal mask is then not the plain lower triangle, and no decoder here needs it.
        """
        T, end = k.shape[2], self.length + k.shape[2]
        if end > self.size:
            raise ValueError(f"{end} tokens do not fit into a cache of {self.size}")
        if T > 1 and self.length:
            raise ValueError("several tokens can only be read into an empty cache")
        keys, values = self.memory[layer]  # (B, H, size, D) each
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Put sequence rows[i] into place i, as beam search asks for: rows (B,) of indices."""
        used = self.memory[..., : self.length, :]
        used.copy_(used.index_select(2, rows))
