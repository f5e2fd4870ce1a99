"""A run at moments of its training, for graphs that take its weights as inputs.

weights/640.safetensors    its weights after 640 updates, by the names of these inputs
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from gpt.base.schema import Saved
from gpt.exporting.equality import compare
from gpt.exporting.graphs import running
from gpt.models import block_size_of
from gpt.runs.weights import load_model, serialised
from gpt.session.trained import TrainedRun


def export(trained: TrainedRun, moments: Mapping[int, Saved | int], folder: Path) -> str:
    """Write the weights of a run after these iterations, and check model.onnx with each of them.

    Returns what was checked. Raises UserError.
    """
    (folder / "weights").mkdir()
    graph, V, size = running(folder / "model.onnx", ["logits"]), trained.task.vocab_size, block_size_of(trained.model)
    for iteration, which in moments.items():
        model = load_model(trained.run, which).eval()
        weights, name = weights_of(model), f"weights/{iteration}.safetensors"
        (folder / name).write_bytes(serialised({key: weight.detach() for key, weight in weights.items()}))
        compare(name, partial(_logits, model), partial(graph, **weights), V, size)
    return f"model.onnx: equal to the run at {len(moments)} moments of its training"


def _logits(model: nn.Module, idx: Tensor) -> list[Tensor]:
    return [model(idx)]


def weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """What changes in a model during training, by name."""
    return dict(model.named_parameters())
