"""Check that an export computes the same as its run."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from gpt.base.errors import UserError
from gpt.base.seeding import generator

TOLERANCE = 1e-4  # the largest difference, relative to the largest value if that is above 1

_TOKENS = 64  # of the likeliest text

Outputs = Callable[[Tensor], Sequence[Tensor]]  # token ids (B, T) -> logits (B, T, V), then other outputs to compare


def prompts(vocab_size: int, block_size: int) -> Iterator[Tensor]:
    """Random token ids, (B, T) each, of many lengths up to block_size, including the shortest and the longest."""
    lengths = {1, 2, 3, 5, 16, 17, block_size // 2, block_size - 1, block_size}
    for number, T in enumerate(sorted(T for T in lengths if 1 <= T <= block_size)):
        yield torch.randint(vocab_size, (1 + number % 3, T), generator=generator(0, "export", T))


@torch.no_grad()
def check(name: str, expected: Outputs, found: Outputs, vocab_size: int, block_size: int) -> str:
    """Compare two models on random prompts and on their likeliest text, and report the largest difference.

    Raises UserError if it is too large.
    """
    compared = compare(name, expected, found, vocab_size, block_size)
    if not torch.equal(*(likeliest(outputs, block_size) for outputs in (expected, found))):
        raise UserError(f"the export failed: the likeliest text of {name} differs from the run's")
    return f"{compared}, with the same likeliest text"


@torch.no_grad()
def compare(name: str, expected: Outputs, found: Outputs, vocab_size: int, block_size: int) -> str:
    """Compare two functions of token ids, with any outputs, on random prompts alone."""
    worst, drawn = 0.0, list(prompts(vocab_size, block_size))
    for idx in drawn:
        for a, b in zip(expected(idx), found(idx), strict=True):
            difference = _difference(a, b)
            if not difference <= TOLERANCE:  # NaN is refused, too
                raise UserError(f"the export failed: {name} differs from the run by {difference:g}")
            worst = max(worst, difference)
    return f"{name}: equal within {worst:.1e} over {len(drawn)} prompts of 1 to {block_size} tokens"


def _difference(expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        return float("inf")
    largest = expected.abs().max().clamp(min=1.0)  # float32 has the same number of digits for 50 as for 5
    return ((expected - found).abs().max() / largest).item()


def likeliest(outputs: Outputs, block_size: int) -> Tensor:
    """The likeliest continuation of token 0, one token at a time: (65,)."""
    idx = torch.zeros(1, 1, dtype=torch.int64)
    for _ in range(_TOKENS):
        logits = outputs(idx[:, -block_size:])[0]  # (1, T, V)
        idx = torch.cat([idx, logits[:, -1:].argmax(dim=-1)], dim=1)
    return idx[0]
