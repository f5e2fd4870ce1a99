"""Models for inference only, with matrices in the layout that the CPU's kernels read fastest.

Decoding one token reads every weight once, so memory limits its speed. PyTorch's linear layer uses about half of the
bandwidth, except in float32 on Intel's processors, where it calls Intel's library. The packed layout of oneDNN uses all
of it elsewhere. 8-bit integers are a quarter of the bytes to read.
"""

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt.base.errors import UnavailableError
from gpt.base.runtime import is_intel, is_large
from gpt.models import Stage
from gpt.tasks.decoding.recorded_step import tracing


def packed(model: Stage, dtype: torch.dtype) -> Stage:
    """Convert `model` to `dtype` in place, for inference only; on a CPU, pack the linear layers of a large one.

    float32 gives the model's original outputs, up to rounding. bfloat16 halves the memory read per token, int8, for
    linear layers only, halves it again. Raises UnavailableError where there is no int8.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if dtype is torch.int8:
        if not (on_cpu and hasattr(torch, "quantize_per_channel")):  # A later PyTorch may lack it.
            raise UnavailableError("dtype=int8 needs a CPU and an earlier PyTorch: use device=cpu, or dtype=bfloat16")
        return _with_linears(model.requires_grad_(False), _Int8Linear)
    model.requires_grad_(False).to(dtype)
    if on_cpu and is_large(model) and _gains_from_packing(dtype):
        return _with_linears(model, _PackedLinear)
    return model


def _with_linears(model: Stage, kind: type["_PackedLinear | _Int8Linear"]) -> Stage:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, kind(child))
    return model


def _gains_from_packing(dtype: torch.dtype) -> bool:
    private = ("_reorder_linear_weight", "_linear_pointwise")
    if not (torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in private)):
        return False
    return not is_intel() if dtype is torch.float32 else torch.ops.mkldnn._is_mkldnn_bf16_supported()


class _PackedLinear(nn.Module):
    """The same as nn.Linear: (..., in) -> (..., out)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight, 1)
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("bias", linear.bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        linear = _scripted() if tracing.locked() else _linear
        return linear(x, self.weight, self.bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@functools.cache
def _scripted() -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """`_linear` as a script, because the tracer cannot record its empty list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(_linear)


class _Int8Linear(nn.Module):
    """Nearly the same as nn.Linear: (..., in) -> (..., out).

    Each row of the weights is rounded to multiples of its largest one over 127, and each input to 256 steps.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the notice that PyTorch will remove it
            rows = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rows, linear.bias)
        # Without these instructions, sums of products of 8 bits each overflow.
        self._is_reduced = not torch.cpu._is_vnni_supported()
        self._linear = torch.ops.quantized.linear_dynamic.default

    def forward(self, x: Tensor) -> Tensor:
        return self._linear(x, self._packed, self._is_reduced)
