"""hybrid with n-gram embeddings. docs/lab/records.md says what they are worth."""

from torch import Tensor, nn

from gpt.config.choices import Count, CountOrZero, Depth, Fraction, Length, Size
from gpt.models.kv_cache import with_left_context
from gpt.models.ngrams import NGramOrder
from gpt.models.records import hybrid

_MULTIPLIER = 1_000_003  # of the hash; odd, so that each token of an n-gram changes the hash


class NGramEmbedding(nn.Module):
    """A vector for each token, plus one for each of the n-grams that end with it, for n from 2 to `ngrams`.

    All n-grams share the rows of one table; a hash says which, so some of them collide.

    Source: "Byte Latent Transformer" (Pagnoni et al., 2024), section 3.2.1, which has a table for each n.
    """

    def __init__(self, vocab_size: int, n_embd: int, ngrams: int, rows: int) -> None:
        super().__init__()
        self.ngrams, self.rows = ngrams, rows
        self.token = nn.Embedding(vocab_size, n_embd)
        self.table = nn.Embedding(rows, n_embd)
        nn.init.zeros_(self.table.weight)  # An unseen n-gram adds nothing, unless it shares a row.

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> (B, T, C)."""
        ids = with_left_context(idx[..., None], self.ngrams)[..., 0]  # (B, ngrams + T)
        x, key = self.token(idx), idx  # (B, T, C), (B, T)
        for n in range(1, self.ngrams):
            key = (key * _MULTIPLIER + ids[:, self.ngrams - n : -n]) % self.rows  # the n-th token before each
            x = x + self.table(key)
        return x


class WithNGrams(hybrid.GPT):
    """hybrid with n-gram embeddings: the first layer knows the last few tokens without computing anything."""

    def __init__(  # noqa: PLR0913  # the schema of conf/model/hybrid_with_ngrams.yaml
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        n_attention: CountOrZero,
        dropout: Fraction,
        ngrams: NGramOrder,
        rows: Count,
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, n_attention, dropout)
        self.add_module("embedding", NGramEmbedding(vocab_size, n_embd, ngrams, rows))
