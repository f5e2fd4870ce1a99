"""v9 with one thing changed."""

from gpt.config.choices import Count, Depth, Fraction, Length, Size
from gpt.models import v9_counts
from gpt.models.hybrid import replace_attention
from gpt.models.ngrams import NGramOrder


class WithRecurrences(v9_counts.GPT):
    """v9 with hybrid's recurrence in place of attention in all layers but the last."""

    def __init__(
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        dropout: Fraction,
        ngrams: NGramOrder,
        memory: Count,
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout, ngrams, memory)
        replace_attention(self, n_embd, 1, dropout)
