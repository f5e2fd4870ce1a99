"""ONNX: a run that continues a text as a graph for onnxruntime, for any batch size and any length up to block_size.

The graph contains the weights or, for several moments of a training, takes them as inputs, by their names.

model.onnx             token ids (batch, time) int64 -> logits (batch, time, vocabulary)
with_attention.onnx    the same, and the attention weights of every layer: (batch, heads, time, time) each
tokenizer.json         the run's tokens and their ids
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime
import onnxscript  # noqa: F401  # torch.onnx needs it; imported to name it if it is missing
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.func import functional_call
from torch.onnx import ONNXProgram

from gpt import models
from gpt.base.errors import RequestError
from gpt.exporting.verification import check
from gpt.inspection.attention_weights import Observed
from gpt.models import Remembering, Stage
from gpt.registry import Choice
from gpt.runs.weights import shapes_only
from gpt.session.trained import TrainedRun
from gpt.tasks.continuation import Continuation

logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # hides notes about libraries that are not used here

Sizes = dict[str, list[int | None]]  # of each weight; None is the size of the vocabulary


class Inputs(NamedTuple):
    """The weights that a graph takes as inputs, by their names, and which of their sizes are free.

    One graph then serves every moment of a training, of any text.
    """

    weights: Mapping[str, nn.Parameter]
    sizes: Sizes

    def varying(self) -> list[dict[int, Any]]:
        """The free sizes, all of them the vocabulary's, in the form of torch.export."""
        vocabulary = torch.export.Dim("vocabulary", min=2)
        return [{i: vocabulary for i, n in enumerate(shape) if n is None} for shape in self.sizes.values()]


NONE = Inputs({}, {})


class _Given(nn.Module):
    """A module that takes these weights as inputs, after its own inputs."""

    def __init__(self, module: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.module = module
        names = {id(weight): name for name, weight in module.named_parameters()}  # its own, as in "model.lm_head.bias"
        self.names = [names[id(weight)] for weight in weights.values()]

    def forward(self, idx: Tensor, *inputs: Tensor) -> Any:
        """The module's outputs with these weights."""
        own, weights = inputs[: -len(self.names)], inputs[-len(self.names) :]
        return functional_call(self.module, dict(zip(self.names, weights, strict=True)), (idx, *own))


def export(trained: TrainedRun, folder: Path, inputs: Inputs = NONE) -> str:
    """Write the graphs, with these inputs, and the tokenizer, and return what was checked.

    Raises RequestError, UserError.
    """
    model, task = trained.model, trained.task
    Continuation.required(task, "format=onnx")
    if isinstance(model, Remembering):
        raise RequestError("format=onnx cannot export counts of the training text: train v8, which has none")
    Tokenizer.from_str(task.as_json()).save(str(folder / "tokenizer.json"))
    observed, V, block_size = Observed(model).eval(), task.vocab_size, model.block_size
    found = computed(model, ["logits"], block_size, folder / "model.onnx", inputs)
    checked = check("model.onnx", lambda idx: [model(idx)], found, V, block_size)
    with torch.no_grad():
        _, *layers = observed(torch.zeros(1, 1, dtype=torch.int64))
    if not layers:
        return checked
    outputs, name = ["logits", *(f"attention_{i}" for i in range(len(layers)))], "with_attention.onnx"
    found = computed(observed, outputs, block_size, folder / name, inputs)
    return f"{checked}\n{check(name, observed, found, V, block_size)}"


def computed(
    module: nn.Module, outputs: Sequence[str], block_size: int, path: Path, inputs: Inputs = NONE, **others: Tensor
) -> Callable[..., Sequence[Tensor]]:
    """Write the graph of a module of token ids, other inputs of fixed sizes and weights; return a function that runs
    it, with the other inputs by name.
    """
    fixed: list[dict[int, Any]] = [{} for _ in others]
    varying = {0: torch.export.Dim("batch")}
    if block_size > 1:
        varying[1] = torch.export.Dim("time", max=block_size)
    shapes: tuple[Any, ...] = (varying, *fixed)
    if inputs.weights:
        module = _Given(module, inputs.weights)
        others |= {name: weight.detach() for name, weight in inputs.weights.items()}
        shapes = (varying, (*fixed, *inputs.varying()))
    example = torch.zeros(2, min(3, block_size), dtype=torch.int64)  # 0 and 1 would be taken for fixed sizes
    program = translated(
        module, (example, *others.values()), input_names=["idx", *others], output_names=outputs, dynamic_shapes=shapes
    )
    program.model.metadata_props["block_size"] = f"{block_size}"
    program.save(path, external_data=False)
    return running(path, outputs, inputs.weights)


def translated(module: nn.Module | ExportedProgram, inputs: tuple[Tensor, ...] = (), **options: Any) -> ONNXProgram:
    """A module or a program of torch.export as a graph, without paths of this machine."""
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        program = torch.onnx.export(module, inputs, dynamo=True, external_data=False, verbose=False, **options)
    assert program is not None
    for node in program.model.graph.all_nodes():  # including nodes in the bodies of loops
        node.metadata_props.clear()  # drops the stack trace
    return program


def running(
    path: Path, outputs: Sequence[str], weights: Mapping[str, Tensor] = NONE.weights
) -> Callable[..., Sequence[Tensor]]:
    """A function that runs a graph with these weights."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # ScatterND loses sums if two threads add to one place
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(idx: Tensor, **given: Tensor) -> list[Tensor]:
        feed = {name: tensor.detach().numpy() for name, tensor in {"idx": idx, **weights, **given}.items()}
        return [torch.from_numpy(output) for output in session.run(outputs, feed)]

    return run


def inputs_of(choice: Choice, model: Stage) -> Inputs:
    """All weights of a model of this choice, with a free vocabulary size if the stage allows it."""
    weights = dict(model.named_parameters())
    try:
        return Inputs(weights, sizes_of(choice))
    except RequestError:
        return Inputs(weights, {name: list(weight.shape) for name, weight in weights.items()})


def sizes_of(choice: Choice) -> Sizes:
    """The sizes of each weight of a stage; a size that differs between two vocabularies is the vocabulary's.

    Raises RequestError if a size is neither the vocabulary's nor independent of it.
    """
    with shapes_only(choice):
        few, more = ({name: w.shape for name, w in models.build(choice, V).named_parameters()} for V in (2, 3))
    found: Sizes = {}
    for name, shape in few.items():
        if any(a != b and (a, b) != (2, 3) for a, b in zip(shape, more[name], strict=True)):
            raise RequestError(f"{name} has a size that depends on the vocabulary's and is another")
        found[name] = [a if a == b else None for a, b in zip(shape, more[name], strict=True)]
    return found
