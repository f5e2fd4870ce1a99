"""PyTorch's private fused kernels, each with an equivalent public fallback.

benchmarks/private_kernels.py measures how much they gain.
"""

import math

import torch
from torch import Tensor

_EPSILON = 1e-8  # AdamW's, in PyTorch and in the paper


def fused_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    moments: tuple[list[Tensor], list[Tensor]],
    steps: Tensor,
    *,
    rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    skip: Tensor,
) -> None:
    """Step number `steps` of AdamW, in place, with the first and second `moments`.

    Where the scalar `skip` is 1, nothing changes.
    """
    beta1, beta2 = betas
    # On MPS, PyTorch's kernel ignored found_inf until 2026 (PyTorch's pull request 186360).
    if hasattr(torch, "_fused_adamw_") and parameters[0].device.type != "mps":
        torch._fused_adamw_(
            parameters,
            gradients,
            *moments,
            max_exp_avg_sqs=[],
            state_steps=[steps] * len(parameters),
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            weight_decay=weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=skip,
        )
        return
    if skip:
        return
    step = steps.item()
    for p, gradient, first, second in zip(parameters, gradients, *moments, strict=True):
        p.mul_(1 - rate * weight_decay)
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        deviation = (second.sqrt() / math.sqrt(1 - beta2**step)).add_(_EPSILON)
        p.addcdiv_(first, deviation, value=-rate / (1 - beta1**step))


def has_nonfinite(tensors: list[Tensor]) -> Tensor:
    """1 if any of the tensors contains NaN or Inf, else 0: a scalar on their device."""
    found = torch.zeros((), device=tensors[0].device)
    if hasattr(torch, "_amp_foreach_non_finite_check_and_unscale_"):
        # The gradient-scaling kernel, which also multiplies by a scale, here 1.
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, torch.ones_like(found))
        return found
    return found + ~torch.stack([tensor.isfinite().all() for tensor in tensors]).all()
