"""What a prediction rests on: the same prediction with the run's attention, or its counts, turned off."""

import copy

import torch
from torch import Tensor, nn

from gpt.apps.playground.looking import checked_ids
from gpt.models import block_size_of, v9_counts
from gpt.models.attention_weights import AttentionWeights, WithoutAttention
from gpt.session.trained import TrainedRun


class _Off(nn.Module):
    """Zeros, instead of the output of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        """Of the shape of the module's output."""
        return torch.zeros_like(self.module(*inputs))


class _Kept(nn.Module):
    """A module that keeps its output."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        """The module's output."""
        self.output = self.module(*inputs)
        return self.output


@torch.inference_mode()
def interventions(trained: TrainedRun, tokens: list[int]) -> dict[str, Tensor]:
    """The logits after the last `block_size` of these tokens with parts of the run turned off, (V,) each:
    `without_attention` if it has attention and, for v9, `without_counts`.

    For v9 also, for the last 1, 2, ... tokens: `counts_p`, (order, V), the next token's probabilities by the counts,
    `counts_seen`, (order), how often the context was counted, and `counts_trust`, (order), the weight of these counts.
    Raises RequestError for a token outside the vocabulary.
    """
    model = trained.model
    idx = checked_ids(trained, tokens)[None, -block_size_of(model) :]
    found = {}
    with AttentionWeights() as observed:
        model(idx)
    if observed.weights:
        with WithoutAttention():
            found["without_attention"] = model(idx)[0, -1]
    if isinstance(model, v9_counts.GPT):
        found["without_counts"] = _replaced(model, expected=_Off(model.expected), trust=_Off(model.trust))(idx)[0, -1]
        trust = _Kept(model.trust)
        _replaced(model, trust=trust)(idx)
        p, seen = model.ngrams(idx)
        found |= {"counts_p": p[0, -1], "counts_seen": seen[0, -1], "counts_trust": trust.output[0, -1]}
    return {name: tensor.float().cpu() for name, tensor in found.items()}


def _replaced(model: nn.Module, **modules: nn.Module) -> nn.Module:
    """The same model, with the same weights, but for these modules; the model itself may be in use elsewhere."""
    changed = copy.copy(model)
    changed._modules = {**model._modules, **modules}
    return changed
