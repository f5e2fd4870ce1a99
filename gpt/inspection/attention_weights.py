"""Attention weights of any stage, observed from outside while it runs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

_SOFTMAX = (Tensor.softmax, torch.softmax, torch.nn.functional.softmax)


class AttentionWeights(TorchFunctionMode):
    """Collects the attention weights that are computed inside this context, in `weights`.

    One tensor per attention, in the order of computation: (B, H, T, S), where the weights of a query add up to 1. A
    single head of shape (B, T, S) gets H = 1. A stage computes attention either with PyTorch's fused function, whose
    weights are recomputed here, or with a softmax over the scores.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is scaled_dot_product_attention:
            self.weights.append(_weights(*args, **(kwargs or {})))
        elif func in _SOFTMAX and result.ndim > 2:
            self.weights.append(result.detach() if result.ndim == 4 else result.detach()[:, None])
        return result


class Observed(nn.Module):
    """A stage that also returns attention weights; for an encoder-decoder, the decoder's over the source."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # One per encoder block, then two per decoder block: self-attention, and attention to the source.
        self.shown = slice(len(model.encoder) + 1, None, 2) if hasattr(model, "encoder") else slice(None)

    def forward(self, idx: Tensor, target: Tensor | None = None) -> tuple[Tensor, ...]:
        """The model's token ids, (B, S) and (B, T) -> logits (B, T, V), then (B, H, T, S) for each layer."""
        with AttentionWeights() as observed:
            logits = self.model(idx) if target is None else self.model(idx, target)
        return (logits, *observed.weights[self.shown])


def _weights(
    query: Tensor,
    key: Tensor,
    _value: Any = None,
    attn_mask: Tensor | None = None,
    _dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Tensor:
    """The attention weights of `scaled_dot_product_attention` with these arguments: (B, H, T, S)."""
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(dim=-1).detach()
