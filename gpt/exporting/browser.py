"""The files that the playground's page without a server needs for a run, besides model.onnx.

inside.onnx                token ids and a row of the window -> the values of `inspection.parts.Inside`, by their names
switched.onnx              token ids, and which parts are on -> logits (batch, time, vocabulary), as
                           `inspection.parts.Switched`
weights/640.safetensors    the weights after 640 updates, by the names of these graphs' inputs
translator.onnx            for a run that translates: token ids of the source, "idx", and of the target so far -> logits
                           (batch, time, vocabulary), and the attention of each decoder block to the source:
                           (batch, heads, time, source) each
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.config.schema import Saved
from gpt.data.vocabulary import PAD
from gpt.exporting.graphs import Inputs, computed, running, translated
from gpt.exporting.verification import Outputs, check, compare
from gpt.inspection.attention_weights import Observed
from gpt.inspection.parts import Inside, Switched, can_be_opened
from gpt.models import Stage
from gpt.runs.tensors import serialised
from gpt.runs.weights import load_model
from gpt.session.trained import TrainedRun


def export_parts(trained: TrainedRun, folder: Path, inputs: Inputs) -> list[str]:
    """Write inside.onnx and switched.onnx, if the stage has them, with these inputs.

    Returns what was checked. Raises UserError.
    """
    model, size, V = trained.model, trained.model.block_size, trained.task.vocab_size
    checked = []
    if can_be_opened(model):
        inside, name = Inside(model).eval(), "inside.onnx"
        values = computed(inside, inside.names, size, folder / name, inputs, row=torch.tensor([0]))
        checked.append(compare(name, _of_row(inside), _of_row(values), V, size))
    switched, name = Switched(model).eval(), "switched.onnx"
    if switched.parts:
        on = torch.arange(len(switched.parts)) % 3 > 0
        logits = computed(switched, ["logits"], size, folder / name, inputs, on=on)
        checked.append(check(name, lambda idx: [switched(idx, on)], lambda idx: logits(idx, on=on), V, size))
    return checked


def export_moments(trained: TrainedRun, moments: Mapping[int, Saved | int], folder: Path) -> str:
    """Write the weights of a run after these iterations, and check model.onnx with each of them.

    Returns what was checked. Raises UserError.
    """
    (folder / "weights").mkdir()
    graph, V, size = running(folder / "model.onnx", ["logits"]), trained.task.vocab_size, trained.model.block_size
    for iteration, which in moments.items():
        model = load_model(trained.run, which).eval()
        weights, name = dict(model.named_parameters()), f"weights/{iteration}.safetensors"
        (folder / name).write_bytes(serialised({key: weight.detach() for key, weight in weights.items()}))
        compare(name, partial(_logits, model), partial(graph, **weights), V, size)
    return f"model.onnx: equal to the run at {len(moments)} moments of its training"


def export_translator(trained: TrainedRun, folder: Path) -> str:
    """Write the graph, and return what was checked. Raises UserError."""
    module, size, name = Observed(trained.model).eval(), trained.model.block_size, "translator.onnx"
    outputs = ["logits", *(f"attention_{i}" for i in range(trained.config.model.hyperparameters["n_layer"]))]
    batch, source, time = torch.export.Dim("batch"), *(torch.export.Dim(n, max=size) for n in ("source", "time"))
    program = translated(
        module,
        (torch.full((2, 3), PAD + 1), torch.full((2, 4), PAD + 1)),
        input_names=["idx", "target"],
        output_names=outputs,
        dynamic_shapes=({0: batch, 1: source}, {0: batch, 1: time}),
    )
    program.save(folder / name, external_data=False)
    graph = running(folder / name, outputs)
    return compare(name, _of_source(module), _of_source(graph), trained.task.vocab_size, size)


def _logits(model: Stage, idx: Tensor) -> list[Tensor]:
    return [model(idx)]


def _of_row(function: Callable[..., Any]) -> Outputs:
    """The values of one row of each window."""
    return lambda idx: function(idx, row=torch.tensor([idx.shape[1] // 2]))


def _of_source(function: Callable[..., Any]) -> Outputs:
    """The function with a source without padding, and the first half of it as the target."""

    def run(idx: Tensor) -> Any:
        source = idx.clamp(min=PAD + 1)
        return function(source, target=source[:, : (idx.shape[1] + 1) // 2])

    return run
