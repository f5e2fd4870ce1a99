"""Stateless seeding: one stream of random numbers per purpose.

A draw is a pure function of the seed and its purpose. The batch of an iteration therefore does not depend on what came
before it, and drawing more for one purpose never shifts another. Only initial weights and dropout use PyTorch's global
generators: a checkpoint saves rank 0's states, and the other ranks reseed theirs in each iteration.
"""

import hashlib

import torch


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, such as ("train", iteration)."""
    key = "/".join(map(str, (seed, *purpose))).encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
