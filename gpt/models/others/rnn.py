"""rnn: a recurrent network. All that it keeps of earlier tokens is a state, which each token changes.

Source: "Finding Structure in Time" (Elman, 1990), with layers on top of each other: each reads the states below it.
"""

import torch
from torch import Tensor, nn

from gpt.config.choices import Depth, Length, Size
from gpt.models.attention import is_exporting
from gpt.models.kv_cache import Cached, run_recurrence


class Recurrent(nn.Module):
    """h_t = tanh(W x_t + b + U h_{t-1}), from h_0 = 0.

    The products with x are computed for the whole window at once. Only the products with h wait for each other.
    """

    gates, states = 1, 1  # in multiples of C: the size of the products, and of the state

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.input = nn.Linear(n_embd, self.gates * n_embd)
        self.recurrent = nn.Linear(n_embd, self.gates * n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        inputs = self.input(x)  # (B, T, gates * C)
        states = run_recurrence(lambda state: self._scan(inputs, state), x.new_zeros(B, self.states * C), T)
        return states[..., :C]

    def step(self, inputs: Tensor, h: Tensor) -> Tensor:
        """The next state: inputs (B, C) and h (B, C) -> (B, C)."""
        return torch.tanh(inputs + self.recurrent(h))

    def _scan(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The state after each token, and after the last one: (B, T, gates * C) -> (B, T, states * C)."""
        if is_exporting():  # An unrolled graph would accept a single T only.
            from torch._higher_order_ops.scan import scan

            def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
                state = self.step(x, state)
                return state, state.clone()

            last, states = scan(step, state, inputs.transpose(0, 1))
            return states.transpose(0, 1), last
        states = []
        for x in inputs.unbind(dim=1):
            state = self.step(x, state)
            states.append(state)
        return torch.stack(states, dim=1), state


class GPT(Cached):
    """embedding -> L recurrent layers -> logits."""

    layer = Recurrent
    slides = True  # the state continues when the window is full

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_layer: Depth) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.Sequential(*(self.layer(n_embd) for _ in range(n_layer)))
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
