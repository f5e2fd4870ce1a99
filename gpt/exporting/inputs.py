"""The weights that a graph takes as inputs, so that one graph serves every moment of a training, of any text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from gpt import models
from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.runs.weights import shapes_only

Sizes = dict[str, list[int | None]]  # of each weight; None is the size of the vocabulary


class Inputs(NamedTuple):
    """Weights by their names, and which of their sizes are free."""

    weights: Mapping[str, nn.Parameter]
    sizes: Sizes

    def varying(self) -> list[dict[int, Any]]:
        """The free sizes as torch.export takes them: all of them are the vocabulary's."""
        vocabulary = torch.export.Dim("vocabulary", min=2)
        return [{i: vocabulary for i, n in enumerate(shape) if n is None} for shape in self.sizes.values()]


NONE = Inputs({}, {})


def inputs_of(choice: Choice, model: nn.Module) -> Inputs:
    """All weights of a model of this choice; their sizes are those of any vocabulary, if the stage allows it."""
    weights = dict(model.named_parameters())
    try:
        return Inputs(weights, sizes_of(choice))
    except RequestError:
        return Inputs(weights, {name: list(weight.shape) for name, weight in weights.items()})


def sizes_of(choice: Choice) -> Sizes:
    """The sizes of each weight of a stage: those that differ between two vocabularies are the vocabulary's.

    Raises RequestError if one is neither the vocabulary's nor independent of it.
    """
    with shapes_only():
        few, more = ({name: w.shape for name, w in models.build(choice, V).named_parameters()} for V in (2, 3))
    found: Sizes = {}
    for name, shape in few.items():
        if any(a != b and (a, b) != (2, 3) for a, b in zip(shape, more[name], strict=True)):
            raise RequestError(f"{name} has neither the size of the vocabulary nor one that is independent of it")
        found[name] = [a if a == b else None for a, b in zip(shape, more[name], strict=True)]
    return found
