"""v1: a bigram table. The next token depends on the current token and on nothing else."""

from torch import Tensor, nn

from gpt.config.choices import Length


class Bigram(nn.Module):
    """Row i of a (V, V) table holds the logits of the token that follows token i.

    The lowest possible loss is the conditional entropy of the corpus's bigrams. `block_size` only sets the length of
    the training windows: the table reads a single token.
    """

    def __init__(self, vocab_size: int, block_size: Length) -> None:
        super().__init__()
        self.block_size = block_size
        self.table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids -> logits: (B, T, V)."""
        return self.table(idx)  # (B, T, V)
