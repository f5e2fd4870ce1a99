"""Randomness that can be named: every random draw is a pure function of the seed and of what it is for.

The batch of an iteration therefore does not depend on what came before it, no generator's state has to be kept,
and drawing more for one purpose never shifts what another gets.
"""

import hashlib
import os

import torch


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, such as ("train", iteration)."""
    key = "/".join(map(str, (seed, *purpose))).encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seed PyTorch's global generators (initial weights, dropout).

    On a CPU the same seed gives the same bits either way; `deterministic` demands it of a GPU too,
    at some cost in speed.
    """
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's own condition for determinism
    if deterministic != torch.are_deterministic_algorithms_enabled():  # asking is free, setting imports a compiler
        torch.use_deterministic_algorithms(deterministic)
