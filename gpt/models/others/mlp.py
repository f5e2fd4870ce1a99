"""mlp: a feed-forward network over a fixed number of tokens, whose embeddings are concatenated.

Source: "A Neural Probabilistic Language Model" (Bengio et al., 2003), section 2, without the optional direct
connections from the embeddings to the output.
"""

from torch import Tensor, nn

from gpt.config.choices import Length, Size
from gpt.models.kv_cache import Cached, with_left_context


class GPT(Cached):
    """embeddings of the last `context` tokens, concatenated -> hidden layer -> logits."""

    slides = True  # A slot is a distance from the predicted token.

    def __init__(self, vocab_size: int, block_size: Length, context: Length, n_embd: Size, n_hidden: Size) -> None:
        super().__init__()
        if context > block_size:
            raise ValueError(f"context={context} must be at most block_size={block_size}")
        self.block_size, self.context = block_size, context
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.hidden = nn.Linear(context * n_embd, n_hidden)
        self.lm_head = nn.Linear(n_hidden, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = with_left_context(x, self.context - 1)  # zeros before the first token
        x = x.unfold(1, self.context, 1).transpose(2, 3).flatten(2)  # (B, T, context * C), the oldest token first
        x = self.hidden(x).tanh()  # (B, T, hidden)
        return self.lm_head(x)  # (B, T, V)
