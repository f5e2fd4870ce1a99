"""v3 with one idea more."""

from torch import Tensor

from gpt.models import v3_attention_heads


class WithDirectPath(v3_attention_heads.GPT):
    """With attention's result added to its input, as in v5: each position passes on its own character, too."""

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        return self.lm_head(x + self.attention(x))  # (B, T, C) -> (B, T, V)
