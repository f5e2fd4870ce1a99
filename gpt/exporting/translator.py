"""A run that translates as a graph, for the playground's page without a server.

translator.onnx   token ids of the source, "idx", and of the target so far -> logits (batch, time, vocabulary), and the
                  attention of each decoder block to the source: (batch, heads, time, source) each
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gpt.data.vocabulary import PAD
from gpt.exporting.equality import compare
from gpt.exporting.graphs import running, translated
from gpt.inspection.attention_weights import CrossAttention
from gpt.models import block_size_of
from gpt.session.trained import TrainedRun

NAME = "translator.onnx"


def export_translator(trained: TrainedRun, folder: Path) -> str:
    """Write the graph, and return what was checked. Raises UserError."""
    module, size = CrossAttention(trained.model).eval(), block_size_of(trained.model)
    outputs = ["logits", *(f"attention_{i}" for i in range(module.layers))]
    batch, source, time = torch.export.Dim("batch"), *(torch.export.Dim(n, max=size) for n in ("source", "time"))
    program = translated(
        module,
        (torch.full((2, 3), PAD + 1), torch.full((2, 4), PAD + 1)),
        input_names=["idx", "target"],
        output_names=outputs,
        dynamic_shapes=({0: batch, 1: source}, {0: batch, 1: time}),
    )
    program.save(folder / NAME, external_data=False)
    graph = running(folder / NAME, outputs)
    expected, found = (_of_source(f) for f in (module, lambda idx, target: graph(idx, target=target)))
    return compare(NAME, expected, found, trained.task.vocab_size, size)


def _of_source(function: Callable[[Tensor, Tensor], Sequence[Tensor]]) -> Callable[[Tensor], Sequence[Tensor]]:
    """The function of a source without padding and of a target that is half of it."""

    def run(idx: Tensor) -> Sequence[Tensor]:
        source = idx.clamp(min=PAD + 1)
        return function(source, source[:, : (idx.shape[1] + 1) // 2])

    return run
