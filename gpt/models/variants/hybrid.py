"""hybrid with one thing added. docs/lab/records.md says what each is worth."""

import torch
from torch import Tensor, nn

from gpt.config.choices import Count, CountOrZero, Depth, Fraction, Length, Size
from gpt.models import hybrid
from gpt.models.kv_cache import preceded
from gpt.models.ngrams import NGramOrder

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
        ids = preceded(idx[..., None], self.ngrams)[..., 0]  # (B, ngrams + T)
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


class WithMembers(hybrid.GPT):
    """hybrid as an ensemble: several stacks of blocks, between the same embedding and output layer.

    In training, each row of a batch is read by one stack. Otherwise all stacks read every row, and their probabilities
    are averaged.

    Sources: "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles" (Lakshminarayanan et al.,
    2017), section 2.4; "Why M Heads are Better than One Brain" (Lee et al., 2015), section 4.2, for shared layers.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        n_attention: CountOrZero,
        dropout: Fraction,
        members: Size,
    ) -> None:
        size = vocab_size, block_size, n_embd, n_head, n_layer, n_attention, dropout
        super().__init__(*size)
        self.members = nn.ModuleList([self.blocks, *(hybrid.GPT(*size).blocks for _ in range(members - 1))])
        del self.blocks

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        if self.training:
            # A batch with fewer rows than members trains one member per row.
            rows = x.tensor_split(len(self.members))
            x = torch.cat([blocks(own) for blocks, own in zip(self.members, rows, strict=True) if len(own)])
            return self.lm_head(self.norm(x))  # (B, T, V)
        found = torch.stack([self.lm_head(self.norm(blocks(x))) for blocks in self.members])  # (M, B, T, V)
        return found.log_softmax(-1).logsumexp(0)  # (B, T, V)
