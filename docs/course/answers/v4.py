"""Answers to the exercises of docs/course/v4.md."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gpt.models import v3_feed_forward, v4_blocks


def parameters(C: int, V: int, T: int, L: int) -> int:
    """The number of parameters of v4."""
    embedding = V * C + T * C
    block = 3 * C * C + (C * C + C)  # queries, keys and values; the feed-forward layer with its bias
    head = C * V + V
    return embedding + L * block + head


def as_v4(below: v3_feed_forward.GPT) -> v4_blocks.GPT:
    """A v4 of one block with the weights of a v3_ffn of the documented size."""
    model = v4_blocks.GPT(vocab_size=65, block_size=8, n_embd=32, n_head=4, n_layer=1)
    in_block = ("attention.", "feed_forward.")
    weights = {
        f"blocks.0.{name}" if name.startswith(in_block) else name: weight for name, weight in below.state_dict().items()
    }
    model.load_state_dict(weights)
    return model


def gradient_at_embedding(n_layer: int, stage: Callable[..., nn.Module] = v4_blocks.GPT) -> float:
    """The norm of the gradient of the token embedding of a new model, over a batch of random tokens."""
    torch.manual_seed(0)
    model: nn.Module = stage(vocab_size=65, block_size=8, n_embd=32, n_head=4, n_layer=n_layer)
    idx = torch.randint(65, (32, 9))
    loss = cross_entropy(model(idx[:, :-1]).flatten(0, 1), idx[:, 1:].flatten())
    return torch.autograd.grad(loss, model.get_parameter("embedding.token.weight"))[0].norm().item()
