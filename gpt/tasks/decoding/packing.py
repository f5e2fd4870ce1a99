"""Models for inference only, with matrices in the layout of the CPU's matrix kernels.

PyTorch's linear layer stores its weights in the layout that training needs, which uses only about half of the memory
bandwidth when one token is decoded at a time. The packed layout of oneDNN, the library underneath, uses all of it.
"""

import torch
from torch import Tensor, nn

from gpt.base.runtime import is_large


def packed(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert `model` to `dtype` in place, for inference only; on a CPU, pack the linear layers of a large one.

    float32 gives the model's original outputs, up to rounding. bfloat16 halves the memory read per token.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    private = ("_reorder_linear_weight", "_linear_pointwise")
    has_kernels = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in private)
    pack = on_cpu and is_large(model) and has_kernels
    model.requires_grad_(False).to(dtype)
    if pack and (dtype is torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, _PackedLinear(child))
    return model


class _PackedLinear(nn.Module):
    """The same as nn.Linear: (..., in) -> (..., out)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight, 1)
        self.bias = linear.bias
        self._linear = torch.ops.mkldnn._linear_pointwise.default

    def forward(self, x: Tensor) -> Tensor:
        return self._linear(x, self.weight, self.bias, "none", [], "")
