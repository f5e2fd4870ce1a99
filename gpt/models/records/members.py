"""hybrid as an ensemble. docs/lab/records.md says what it is worth."""

import torch
from torch import Tensor, nn

from gpt.config.choices import CountOrZero, Depth, Fraction, Length, Size
from gpt.models.records import hybrid


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
