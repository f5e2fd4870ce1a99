"""gru: a recurrent network with gates, which decide how much of the state stays and how much the new one reads.

Source: "Learning Phrase Representations using RNN Encoder-Decoder" (Cho et al., 2014), section 2.3, except that the
reset gate is applied after the product with the state instead of before it, so that one product serves all gates.
"""

import torch
from torch import Tensor

from gpt.models.others import rnn


class Recurrent(rnn.Recurrent):
    """h_t = (1 - z) n + z h_{t-1}, where n reads the state through the gate r."""

    gates = 3

    def step(self, inputs: Tensor, h: Tensor) -> Tensor:
        """The next state: inputs (B, 3C) and h (B, C) -> (B, C)."""
        C = h.shape[1]
        products = self.recurrent(h)  # (B, 3C)
        r, z = torch.sigmoid(inputs[:, : 2 * C] + products[:, : 2 * C]).chunk(2, dim=1)  # (B, C) each
        n = torch.tanh(inputs[:, 2 * C :] + r * products[:, 2 * C :])  # (B, C)
        return n + z * (h - n)


class GPT(rnn.GPT):
    """embedding -> L recurrent layers -> logits."""

    layer = Recurrent
