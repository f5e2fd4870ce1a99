"""Counts a run's floating-point operations, matrix products only, with PyTorch's formulas."""

import copy
import logging
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from gpt.base.runtime import random_numbers_kept
from gpt.data.batch import Batch
from gpt.training.gradient_tape import Call, Listener
from gpt.training.objectives import Objective
from gpt.training.trainer import Trainer

log = logging.getLogger(__name__)

# PyTorch's formulas for attention are for GPUs only. These count the same operations on a CPU: every score, masked ones
# included, and in the backward pass the scores once more.
_forward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ATTENTION_ON_CPU = {
    _forward: lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),
    _backward: lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4]),
}


class Counter(Listener):
    """A context that counts: `flops` is the number of floating-point operations in it, by PyTorch's formulas.

    PyTorch's own `FlopCounterMode` imports its compiler, which takes seconds.
    """

    flops = 0

    def heard(self, call: Call) -> None:
        """Count an operation."""
        packet = call.operation._overloadpacket
        if packet in ATTENTION_ON_CPU:
            self.flops += ATTENTION_ON_CPU[packet](*(x.shape for x in call.arguments if isinstance(x, torch.Tensor)))
        elif packet in flop_registry:
            self.flops += flop_registry[packet](*call.arguments, **call.options, out_val=call.result)


def operations(trainer: Trainer) -> float | None:
    """The operations of all training steps so far, forward and backward; a multiplication and an addition are two.

    Counted for one window of each length and multiplied by the number of windows, without element-wise operations, the
    optimizer and evaluations. None for sentence pairs, whose lengths vary, and for a module that cannot be copied or
    counted.
    """
    state = trainer.state
    if trainer.data.lengths_vary:
        return None
    if state.iteration == 0:
        return 0.0
    short_iters = trainer.settings.short_iters
    short = min(short_iters, state.iteration) / state.iteration  # the share of the tokens in short windows
    try:
        model = copy.deepcopy(trainer.model)  # A step can change a module of the caller's program.
        first = _per_token(model, trainer, trainer.batch(0))
        last = _per_token(model, trainer, trainer.batch(short_iters)) if short_iters else first
    except Exception as error:  # An error in the module's own code must not lose the results.
        log.debug(f"no floating-point operations: {error}")
        return None
    return state.tokens * (short * first + (1 - short) * last)


def _per_token(model: nn.Module, trainer: Trainer, batch: Batch) -> float:
    """The mean over the first window of a batch."""
    window = batch.part(0, len(batch.targets))
    with random_numbers_kept(), Counter() as counted:
        Objective.of(trainer.settings)(model, window).backward()
    return counted.flops / window.tokens
