"""ONNX: the loss of a stage and its gradients, with the weights as inputs, to train the stage without PyTorch.

training.onnx    token ids and targets (batch, T) int64, and the weights by their names
                 -> loss (), and the gradient of each weight, as "gradient.lm_head.bias"
loss.onnx        the same inputs -> loss ()
training.json    the weights: their names and sizes, and how PyTorch draws them

The batch and the vocabulary may have any size: a reader's own text has other characters. The gradients are autograd's,
whose operations are recorded once.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from gpt import models
from gpt.base.errors import RequestError, UserError
from gpt.base.runtime import random_numbers_kept
from gpt.base.seeding import generator
from gpt.exporting.graphs import inputs_of, running, sizes_of, translated
from gpt.models import Remembering, Stage
from gpt.registry import Choice

_TOLERANCE = 1e-4  # of a gradient, relative to the largest of its weight; or 10 times autograd's rounding
_TRIED = ((32, 65), (7, 3), (2, 200))  # sizes of the batch and of the vocabulary

_aten = torch.ops.aten
_DECOMPOSITIONS = {
    **core_aten_decompositions(),
    # The exporter's translation of the loss does not count the targets, and the gradient is divided by their number.
    **get_decompositions([_aten.nll_loss_forward]),
    # Memory that is filled later has no equivalent in ONNX.
    _aten.empty_permuted.default: lambda size, _, **options: torch.zeros(size, **options),
}


def export_training(choice: Choice, folder: Path) -> str:
    """Write the graphs of a stage and the description of its weights, and return what was checked.

    Raises RequestError if the stage cannot be trained in this way, UserError if a gradient is wrong.
    """
    _check(models.build(choice, 2).train(), 2)
    fixed = {n for shape in sizes_of(choice).values() for n in shape}
    V, B = (next(n for n in count(start) if n not in fixed) for start in (11, 101))  # sizes that occur nowhere else
    model = models.build(choice, V).train()
    T, inputs, batch = model.block_size, inputs_of(choice, model), torch.export.Dim("batch", min=2)
    example = (*_windows(B, T, V), *_weights(model))
    outputs = ["loss", *(f"gradient.{weight}" for weight in inputs.weights)]
    try:
        recorded = _record(partial(gradients, model), example)
        shapes = ({0: batch}, {0: batch}, *inputs.varying())
        program = torch.export.export(recorded, example, dynamic_shapes=shapes)
        graph = translated(program, input_names=["idx", "targets", *inputs.weights], output_names=outputs)
    except Exception as error:  # A module from elsewhere may raise any error.
        reason = f"{error}".partition("\n")[0]
        raise RequestError(f"PyTorch cannot record this stage as a graph: {reason}") from error
    graph.save(folder / "training.onnx", external_data=False)
    del graph.model.graph.outputs[1:]
    RemoveUnusedNodesPass()(graph.model)  # leaves the loss alone
    graph.save(folder / "loss.onnx", external_data=False)
    description = [{"name": name, "shape": inputs.sizes[name], **drawn} for name, drawn in drawing(model).items()]
    (folder / "training.json").write_text(json.dumps(description), encoding="utf-8")
    return _compared(choice, folder)


def drawing(model: Stage) -> dict[str, dict[str, Any]]:
    """How PyTorch draws each weight: "normal" with this standard deviation, "uniform" up to this size, or "constant".

    Raises RequestError for a weight that is drawn in another way.
    """
    found: dict[str, dict[str, Any]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for own, weight in module.named_parameters(recurse=False):
            name = f"{prefix}.{own}".lstrip(".")
            if isinstance(module, nn.Linear):
                gain = getattr(module, "gain", 1.0) if own == "weight" else 1.0  # of models/variants/v4.py
                found[name] = {"drawn": "uniform", "scale": gain * module.in_features**-0.5}
            elif isinstance(module, nn.Embedding):
                found[name] = {"drawn": "normal", "scale": 1.0}
            elif (weight == weight.flatten()[0]).all():
                found[name] = {"drawn": "constant", "scale": weight.flatten()[0].item()}
            else:
                raise RequestError(f"{name} is drawn as no weight of nn.Linear or nn.Embedding is")
    return found


def loss(model: Stage, idx: Tensor, targets: Tensor, *weights: Tensor) -> tuple[Tensor]:
    """The mean loss of a model with these weights: idx, targets (B, T) -> ()."""
    names = [name for name, _ in model.named_parameters()]
    logits = functional_call(model, dict(zip(names, weights, strict=True)), (idx,))  # (B, T, V)
    return (cross_entropy(logits.flatten(0, 1), targets.flatten()),)


def gradients(model: Stage, idx: Tensor, targets: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """The same loss, then its gradient with respect to each weight."""
    weights = tuple(weight.detach().requires_grad_() for weight in weights)
    (mean,) = loss(model, idx, targets, *weights)
    return mean.detach(), *torch.autograd.grad(mean, weights)


def _record(function: Callable[..., Any], example: tuple[Tensor, ...]) -> nn.Module:
    with sdpa_kernel(SDPBackend.MATH):  # attention as single matrix products
        return make_fx(function, tracing_mode="symbolic", decomposition_table=_DECOMPOSITIONS)(*example)


def _windows(B: int, T: int, V: int) -> tuple[Tensor, Tensor]:
    idx, targets = torch.randint(V, (2, B, T), generator=generator(0, "export", B, V))
    return idx, targets


def _weights(model: Stage) -> list[Tensor]:
    return [weight.detach() for weight in model.parameters()]


def _check(model: Stage, V: int) -> None:
    """Raise RequestError for a stage that needs more than its weights and a batch to be trained."""
    if isinstance(model, Remembering):
        raise RequestError("this stage counts its training text, which a graph of its loss does not have")
    idx, targets = _windows(2, model.block_size, V)
    if not torch.equal(*(loss(model, idx, targets, *_weights(model))[0] for _ in range(2))):
        raise RequestError("this stage draws random numbers in training (dropout), which a graph does not")


def _compared(choice: Choice, folder: Path) -> str:
    worst = 0.0
    for B, V in _TRIED:
        with random_numbers_kept():
            torch.manual_seed(B)
            model = models.build(choice, V).train()
        windows = _windows(B, model.block_size, V)
        exact = gradients(deepcopy(model).double(), *windows, *(weight.double() for weight in _weights(model)))
        ours = gradients(model, *windows, *_weights(model))
        for name in ("training.onnx", "loss.onnx"):
            names = ["loss", *(f"gradient.{name}" for name, _ in model.named_parameters())]
            outputs = names if name == "training.onnx" else ["loss"]
            graph = running(folder / name, outputs, dict(model.named_parameters()))
            for a, b, c in zip(exact, ours, graph(windows[0], targets=windows[1]), strict=False):
                # Where a gradient has all but vanished, as in a deep v4, autograd's own is mostly rounding.
                rounding, difference = (((x - a).abs().max() / a.abs().max().clamp(min=1e-30)).item() for x in (b, c))
                if not difference <= max(_TOLERANCE, 10 * rounding):  # NaN is refused, too
                    raise UserError(f"the export failed: a gradient of {name} is wrong by {difference:g}")
                worst = max(worst, difference if rounding < _TOLERANCE else 0.0)
    return f"training.onnx: gradients right within {worst:.1e} for batches and vocabularies of several sizes"
