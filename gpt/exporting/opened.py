"""ONNX graphs of the inside of a stage, for the playground's page without a server.

inside.onnx     token ids and a row of the window -> the values of `inspection.parts.Inside`, by their names
switched.onnx   token ids, and which parts are on -> logits (batch, time, vocabulary), as `inspection.parts.Switched`
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gpt.exporting.equality import check, compare
from gpt.exporting.graphs import computed
from gpt.inspection.parts import Inside, Switched, can_be_opened
from gpt.models import block_size_of
from gpt.session.trained import TrainedRun


def export(trained: TrainedRun, folder: Path, weights: Mapping[str, nn.Parameter]) -> list[str]:
    """Write those graphs that the stage has, with these weights as inputs, and return what was checked.

    Raises UserError.
    """
    model, size, V = trained.model, block_size_of(trained.model), trained.task.vocab_size
    checked = []
    if can_be_opened(model):
        inside, name = Inside(model).eval(), "inside.onnx"
        values = computed(inside, inside.names, size, folder / name, weights, row=torch.tensor([0]))
        for place in (lambda idx: torch.tensor([idx.shape[1] - 1]), lambda idx: torch.tensor([idx.shape[1] // 2])):
            expected, found = (partial(_of_row, function, place) for function in (inside, values))
            checked.append(compare(name, expected, found, V, size))
    switched, name = Switched(model).eval(), "switched.onnx"
    if switched.parts:
        on = torch.arange(len(switched.parts)) % 3 > 0
        logits = computed(switched, ["logits"], size, folder / name, weights, on=on)
        checked.append(check(name, lambda idx: [switched(idx, on)], lambda idx: logits(idx, on=on), V, size))
    return checked


def _of_row(
    values: Callable[..., Sequence[Tensor]], place: Callable[[Tensor], Tensor], idx: Tensor
) -> Sequence[Tensor]:
    """The values of one row of each window."""
    return values(idx, row=place(idx))
