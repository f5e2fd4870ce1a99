"""lstm: a recurrent network with a memory cell that is added to instead of rewritten, so that gradients reach far back.

Source: "Long Short-Term Memory" (Hochreiter & Schmidhuber, 1997), section 4, with the forget gate of "Learning to
Forget" (Gers et al., 2000).
"""

import torch
from torch import Tensor

from gpt.models.others import rnn


class Recurrent(rnn.Recurrent):
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t), with the gates i, f and o."""

    gates, states = 4, 2

    def step(self, inputs: Tensor, hc: Tensor) -> Tensor:
        """The next state, h and c side by side: inputs (B, 4C) and hc (B, 2C) -> (B, 2C)."""
        h, c = hc.chunk(2, dim=1)  # (B, C) each
        i, f, g, o = (inputs + self.recurrent(h)).chunk(4, dim=1)  # (B, C) each
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=1)


class GPT(rnn.GPT):
    """embedding -> L recurrent layers -> logits."""

    layer = Recurrent
