"""Backpropagation in a few lines: code of docs/course/backpropagation.md."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


class Value:
    """A number that remembers what it was computed from, so that `backward` can find the gradient of each part."""

    def __init__(self, data: float, parts: "tuple[tuple[Value, float], ...]" = ()) -> None:
        self.data = data
        self.grad = 0.0  # the derivative of the loss with respect to this number
        self._parts = parts  # each with the derivative of this number with respect to it

    def __add__(self, other: "Value") -> "Value":
        """a + b: both derivatives are 1."""
        return Value(self.data + other.data, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: "Value") -> "Value":
        """a * b: the derivative with respect to a is b, and the other way round."""
        return Value(self.data * other.data, ((self, other.data), (other, self.data)))

    def tanh(self) -> "Value":
        """The derivative of tanh is 1 - tanh^2."""
        y = math.tanh(self.data)
        return Value(y, ((self, 1 - y * y),))

    def backward(self) -> None:
        """Add to the gradient of every part, from this number, the loss, backwards."""
        order: list[Value] = []
        seen: set[Value] = set()

        def visit(value: Value) -> None:  # parts come before what is computed from them
            if value not in seen:
                seen.add(value)
                for part, _ in value._parts:
                    visit(part)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):
            for part, derivative in value._parts:
                part.grad += derivative * value.grad  # the chain rule; += because a part may be used twice


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
