"""Compiled training steps: slower to start, then faster."""

import contextlib
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from gpt.base.errors import UserError
from gpt.base.runtime import Runtime, is_large
from gpt.data.batch import Batch
from gpt.training.objectives import Loss, Objective, batch_loss
from gpt.training.precompiled import PrecompiledLoss, RandomNumbersError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def compiler_options(device: torch.device) -> Iterator[None]:
    """Set two of PyTorch's private options, if it has them, for compiled losses; restored at the end."""
    import torch._functorch.config as config  # slow to import, like the whole compiler

    options = {}
    # Writing to this cache occasionally crashes the process (PyTorch's issue 177442); the others are enough.
    if hasattr(config, "enable_autograd_cache"):
        options["enable_autograd_cache"] = False
    # Compiled CPU loops are very slow at storing booleans, so the backward pass recomputes dropout masks.
    # benchmarks/private_kernels.py measures the gain.
    if device.type == "cpu" and hasattr(config, "aggressive_recomputation"):
        options["aggressive_recomputation"] = True
    with config.patch(options):
        yield


def training_losses(
    model: nn.Module, batches: Sequence[Batch], runtime: Runtime, objective: Objective, *, parts: int, compile: bool
) -> tuple[Loss, Loss]:
    """The loss to train with, which is the objective, and the loss that evaluations report.

    With `compile`, the first is compiled before the clock starts, by a forward and backward pass over one of `parts`
    parts of an example batch of each shape. Raises UserError if this machine cannot compile.
    """
    if not compile:
        return objective, batch_loss
    examples = [batch.part(0, parts) for batch in batches]
    with _explained():
        if runtime.device.type == "cpu" and not is_large(model) and len(examples[0].inputs) == 1:
            with contextlib.suppress(RandomNumbersError):
                return _prepared(PrecompiledLoss(model, objective, runtime), model, examples, runtime), batch_loss
        compiled = _just_in_time(model, runtime, objective, graphs=parts == 1)
        loss = _prepared(compiled, model, examples, runtime)
    # On a CPU, compilation does not speed up an evaluation's large passes.
    gains = runtime.device.type != "cpu" and objective.label_smoothing == 0
    return loss, loss if gains else batch_loss


def _just_in_time(model: nn.Module, runtime: Runtime, objective: Objective, *, graphs: bool) -> Loss:
    log.info("compiling; the first time takes up to a minute")  # later ones use the compiler's cache on disk
    mode = None
    # A small stage spends its time launching kernels, which CUDA graphs avoid. But they overwrite gradients, so the
    # parts of a batch could not add up.
    if graphs and runtime.device.type == "cuda" and not is_large(model):
        mode = "reduce-overhead"
    compiled: Loss = torch.compile(objective.__call__, dynamic=False, mode=mode)
    return compiled


def _prepared(loss: Loss, model: nn.Module, examples: Sequence[Batch], runtime: Runtime) -> Loss:
    """The loss, after a forward and backward pass over each example."""
    with torch.random.fork_rng([runtime.device] if runtime.device.type == "cuda" else []):
        for example in examples:
            with runtime.autocast():
                value = loss(model, example)
            value.backward()
    model.zero_grad()
    return loss


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn compiler errors into one line."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"compile=true does not work on this machine: {reason}") from error
