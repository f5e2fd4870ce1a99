"""min_gru: v6 with a recurrence in place of attention. Its gates read the input alone, so no step has to wait.

Source: "Were RNNs All We Needed?" (Feng et al., 2024), section 3.1, in v6's blocks. The states of a window are computed
together, in log2(T) rounds ("Data Parallel Algorithms", Hillis & Steele, 1986).
"""

from torch import Tensor, nn
from torch.nn.functional import pad

from gpt.config.choices import Depth, Length, Size
from gpt.models.kv_cache import Cached, run_recurrence


class MinGRU(nn.Module):
    """h_t = (1 - z_t) h_{t-1} + z_t n_t, where the gate z and the candidate n are linear in x."""

    def __init__(self, n_embd: int, block_size: int) -> None:
        super().__init__()
        self.rounds = (block_size - 1).bit_length()  # for an export, in which T is symbolic
        self.gate_and_candidate = nn.Linear(n_embd, 2 * n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        gate, candidate = self.gate_and_candidate(x).chunk(2, dim=-1)  # (B, T, C) each
        z = gate.sigmoid()
        rounds = (T - 1).bit_length() if isinstance(T, int) else self.rounds
        kept, added = scanned(1 - z, z * candidate, rounds)  # (B, T, C) each

        def recurrence(state: Tensor) -> tuple[Tensor, Tensor]:
            states = kept * state + added  # (B, 1, C) -> (B, T, C)
            return states, states[:, -1:]

        return run_recurrence(recurrence, x.new_zeros(B, 1, C), T)


def scanned(a: Tensor, b: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """The steps h -> a h + b of a window, (B, T, C) each, composed from the first to each: (B, T, C) each.

    A round doubles the number of last steps that entry t composes; T must be at most 2^rounds.
    """
    T = a.shape[1]
    for n in (2**i for i in range(rounds)):
        earlier_a = pad(a, (0, 0, n, 0), value=1.0)[:, :T]  # 1 before the first step: h stays
        earlier_b = pad(b, (0, 0, n, 0))[:, :T]
        a, b = a * earlier_a, a * earlier_b + b
    return a, b


class Block(nn.Module):
    """The recurrence, then feed-forward."""

    def __init__(self, n_embd: int, block_size: int) -> None:
        super().__init__()
        self.recurrence_norm = nn.LayerNorm(n_embd)
        self.recurrence = MinGRU(n_embd, block_size)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.recurrence(self.recurrence_norm(x))  # (B, T, C)
        return x + self.feed_forward(self.feed_forward_norm(x))  # (B, T, C)


class GPT(Cached):
    """embedding -> L blocks -> logits."""

    slides = True  # the state continues when the window is full

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_layer: Depth) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, block_size) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        x = self.norm(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
