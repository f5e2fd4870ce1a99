"""ONNX: a run that continues a text as a graph for onnxruntime, for any batch size and any length up to block_size.

model.onnx             token ids (batch, time) int64 -> logits (batch, time, vocabulary)
with_attention.onnx    the same, and the attention weights of every layer: (batch, heads, time, time) each
tokenizer.json         the run's tokens and their ids
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnxruntime
import onnxscript  # noqa: F401  # what torch.onnx needs; imported to name it if it is missing
import torch
from torch import Tensor, nn

from gpt.apps.exporting import tokenizer
from gpt.apps.exporting.equality import check
from gpt.base.errors import RequestError
from gpt.models import block_size_of
from gpt.models.attention_weights import AttentionWeights
from gpt.models.ngrams import Remembering
from gpt.session.trained import TrainedRun
from gpt.tasks import Continuation


class _Observed(nn.Module):
    """A stage that also returns its attention weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, idx: Tensor) -> tuple[Tensor, ...]:
        """idx: (B, T) int64 token ids -> logits (B, T, V), then (B, H, T, T) for each layer."""
        with AttentionWeights() as observed:
            logits = self.model(idx)
        return (logits, *observed.weights)


def export(trained: TrainedRun, folder: Path) -> str:
    """Write the graphs and the tokenizer, and return what was checked. Raises RequestError, UserError."""
    model, task = trained.model, trained.task
    Continuation.required(task, "format=onnx")
    if isinstance(model, Remembering):
        raise RequestError("format=onnx cannot export counts of the training text: train v8, which has none")
    tokenizer.as_tokenizer(task).save(str(folder / tokenizer.NAME))
    observed, block_size = _Observed(model).eval(), block_size_of(model)
    with torch.no_grad():
        layers = len(observed(torch.zeros(1, 1, dtype=torch.int64))) - 1
    graphs = {"model.onnx": (lambda idx: [model(idx)], model, 0)}
    if layers:
        graphs["with_attention.onnx"] = (observed, observed, layers)
    checked = []
    for name, (expected, module, weights) in graphs.items():
        found = computed(module, ["logits", *(f"attention_{i}" for i in range(weights))], block_size, folder / name)
        checked.append(check(name, expected, found, task.vocab_size, block_size))
    return "\n".join(checked)


def computed(
    module: nn.Module, outputs: Sequence[str], block_size: int, path: Path, **inputs: Tensor
) -> Callable[..., Sequence[Tensor]]:
    """Write the graph of a module of token ids and of these other inputs, of fixed sizes; return a function that runs
    it, with others by name.
    """
    varying = {0: torch.export.Dim("batch")}
    if block_size > 1:
        varying[1] = torch.export.Dim("time", max=block_size)
    example = torch.zeros(2, min(3, block_size), dtype=torch.int64)  # 0 and 1 would be taken for fixed sizes
    with _silenced(), torch.no_grad():
        program = torch.onnx.export(
            module, (example, *inputs.values()), dynamo=True, input_names=["idx", *inputs], output_names=outputs,
            dynamic_shapes=(varying, *({} for _ in inputs)), external_data=False, verbose=False,
        )  # fmt: skip
        assert program is not None
        for node in program.model.graph:
            node.metadata_props.clear()  # the stack that made it, with paths of this machine
        program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(idx: Tensor, **given: Tensor) -> list[Tensor]:
        feed = {name: tensor.numpy() for name, tensor in {"idx": idx, **given}.items()}
        return [torch.from_numpy(output) for output in session.run(outputs, feed)]

    return run


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Suppress the exporter's notes about libraries that this project does not use."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
