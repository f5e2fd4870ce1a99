"""Backpropagation with numbers and with matrices: code of docs/course/without_torch.md."""

import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The class of plain/without_torch.py, without the training that importing that file would run.
_FILE = Path(__file__).parents[3] / "plain" / "without_torch.py"
_CLASS = next(node for node in ast.parse(_FILE.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef))
_names: dict[str, Any] = {"math": math}
exec(compile(ast.Module([_CLASS], []), str(_FILE), "exec"), _names)
Value = _names["Value"]


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The output of causal attention, (T, D), and its weights, (T, T)."""
    T, D = q.shape
    scores = q @ k.T / math.sqrt(D)
    weights = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf).softmax(dim=1)
    return weights @ v, weights


def attention_backward(
    q: Tensor, k: Tensor, v: Tensor, weights: Tensor, d_output: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, (T, D) each, from that of the output, without autograd."""
    d_v = weights.T @ d_output  # output = weights v
    d_weights = d_output @ v.T
    mean = (weights * d_weights).sum(dim=1, keepdim=True)  # of each row's gradients, with its weights
    d_scores = weights * (d_weights - mean)  # through the softmax; 0 where the mask made the weight 0
    scale = 1 / math.sqrt(q.shape[1])  # scores = q k^T / sqrt(D)
    return d_scores @ k * scale, d_scores.T @ q * scale, d_v


def largest_difference(by_hand: Callable[..., tuple[Tensor, ...]] = attention_backward) -> float:
    """Between the gradients of `by_hand` and those of autograd, for random vectors."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(8, 16, dtype=torch.float64, requires_grad=True) for _ in range(3))
    d_output = torch.randn(8, 16, dtype=torch.float64)
    output, weights = attention(q, k, v)
    expected = torch.autograd.grad(output, (q, k, v), d_output)
    with torch.no_grad():
        found = by_hand(q, k, v, weights, d_output)
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))
