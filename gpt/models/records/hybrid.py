"""hybrid: v8 with a gated linear recurrence in place of attention in its first layers.

A recurrence passes on a state of constant size; attention can look up any token of its window.
docs/lab/architectures.md measures what one layer of attention is worth above recurrences.

Sources: "Jamba" (Lieber et al., 2024), section 2, for layers of both kinds; "Were RNNs All We Needed?" (Feng et al.,
2024), section 3.1, for the recurrence; "Mamba" (Gu & Dao, 2023), section 3.4, for its output gate.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from gpt.config.choices import CountOrZero, Depth, Fraction, Length, Size
from gpt.models import v8_modern, v9_counts
from gpt.models.attention import Dropout
from gpt.models.kv_cache import run_recurrence
from gpt.models.others.min_gru import scanned
from gpt.models.squared_relu import SquaredReLU
from gpt.models.variants import signature_of

_LONGEST = 4.0  # the initial gate logit of the slowest channel, which remembers 1 + e^4, about 55 tokens


class GPT(v8_modern.GPT):
    """embedding -> L blocks, the last `n_attention` of them with attention -> logits."""

    def __init__(
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        n_attention: CountOrZero,
        dropout: Fraction,
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        replace_attention(self, n_attention)


class WithRecurrences(v9_counts.GPT):
    """v9 with the recurrence in place of attention in all layers but the last."""

    @signature_of(v9_counts.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        replace_attention(self, 1)


def replace_attention(model: v8_modern.GPT, n_attention: int) -> None:
    """Make recurrent blocks of all but the last `n_attention` blocks. Raises ValueError if there are fewer blocks."""
    n_layer = len(model.blocks)
    if n_attention > n_layer:
        raise ValueError(f"n_attention={n_attention} must be at most n_layer={n_layer}")
    for i in range(n_layer - n_attention):
        block: Any = model.blocks[i]
        model.blocks[i] = RecurrentBlock(model.lm_head.in_features, model.block_size, block.dropout.p)


class RecurrentBlock(nn.Module):
    """v8's block with the recurrence in place of attention."""

    def __init__(self, n_embd: int, block_size: int, dropout: float) -> None:
        super().__init__()
        self.recurrence_norm = nn.LayerNorm(n_embd)
        self.recurrence_shift = v8_modern.TokenShift(n_embd)
        self.recurrence = GatedRecurrence(n_embd, block_size)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward_shift = v8_modern.TokenShift(n_embd)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), SquaredReLU(), nn.Linear(4 * n_embd, n_embd))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.recurrence(self.recurrence_shift(self.recurrence_norm(x))))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_shift(self.feed_forward_norm(x))))  # (B, T, C)


class GatedRecurrence(nn.Module):
    """h_t = (1 - z_t) h_{t-1} + z_t n_t, multiplied by an output gate; z, n and the gate are linear in x."""

    def __init__(self, n_embd: int, block_size: int) -> None:
        super().__init__()
        self.rounds = (block_size - 1).bit_length()  # for an export, in which T is symbolic
        self.inputs = nn.Linear(n_embd, 3 * n_embd)
        self.projection = nn.Linear(n_embd, n_embd)
        with torch.no_grad():
            self.inputs.bias[:n_embd] = -torch.linspace(0, _LONGEST, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        # From here on (T, B, C): a step reads adjacent memory. Sums of many steps need float32.
        update, candidate, gate = self.inputs(x.transpose(0, 1)).float().chunk(3, dim=-1)
        z = update.sigmoid()
        kept, added = 1 - z, z * candidate

        def recurrence(state: Tensor) -> tuple[Tensor, Tensor]:
            if x.is_cpu and not torch.compiler.is_compiling():
                states = Scan.apply(kept, added, state)
            else:
                rounds = (T - 1).bit_length() if isinstance(T, int) else self.rounds
                a, b = scanned(kept.transpose(0, 1), added.transpose(0, 1), rounds)  # (B, T, C) each
                states = (a * state[:, None] + b).transpose(0, 1)
            return states, states[-1]

        states = run_recurrence(recurrence, kept.new_zeros(B, C), T)
        return self.projection((states * silu(gate)).to(x.dtype)).transpose(0, 1)


class Scan(torch.autograd.Function):
    """The states h_t = a_t h_{t-1} + b_t, one after the other: a and b, (T, B, C), and h_0, (B, C) -> (T, B, C).

    On a CPU, a pass over one token after the other is faster than log2(T) passes over all of them.
    """

    @staticmethod
    def forward(context: Any, a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
        """Compute the states, and keep them for the gradient."""
        states, before = torch.empty_like(b), initial
        for rate, step, state in zip(a.unbind(), b.unbind(), states.unbind(), strict=True):
            before = torch.addcmul(step, rate, before, out=state)
        context.save_for_backward(a, states, initial)
        return states

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each state's gradient: its output's, plus a times the next state's."""
        a, states, initial = context.saved_tensors
        found = gradient.clone(memory_format=torch.contiguous_format)  # (T, B, C)
        steps, rates = found.unbind(), a.unbind()
        for t in range(len(steps) - 1, 0, -1):
            steps[t - 1].addcmul_(rates[t], steps[t])
        before = torch.cat([initial[None], states[:-1]])
        return found * before, found, found[0] * a[0]
