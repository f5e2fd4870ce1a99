"""torch.compile: slow to start, faster steps."""

import functools
import logging

import torch
from torch import nn

from gpt.data.batch import Batch
from gpt.errors import UserError
from gpt.runtime import Runtime, is_large
from gpt.training.evaluation import Loss, batch_loss

log = logging.getLogger(__name__)


def training_losses(
    model: nn.Module, batch: Batch, runtime: Runtime, *, parts: int, label_smoothing: float, compile: bool
) -> tuple[Loss, Loss]:
    """The loss to train with, and the one that evaluations report.

    With `compile`, the first is compiled before the clock starts, by a forward and backward pass over one of `parts`
    parts of an example batch. Raises UserError where this machine cannot compile.
    """
    loss: Loss = functools.partial(batch_loss, label_smoothing=label_smoothing)
    if not compile:
        return loss, batch_loss
    loss = _compiled(loss, model, batch.part(0, parts), runtime)
    # On a CPU, compilation does not speed up an evaluation's large passes.
    gains = runtime.device.type != "cpu" and label_smoothing == 0
    return loss, loss if gains else batch_loss


def _compiled(loss: Loss, model: nn.Module, example: Batch, runtime: Runtime) -> Loss:
    log.info("compiling; the first time takes up to a minute")  # later ones use the compiler's cache on disk
    mode = None
    if runtime.device.type == "cpu":
        _recompute_masks()
    elif runtime.device.type == "cuda" and not is_large(model):
        mode = "reduce-overhead"  # CUDA graphs: a small stage's time goes into launching kernels
    compiled: Loss = torch.compile(loss, dynamic=False, mode=mode)
    try:
        with torch.random.fork_rng([runtime.device] if runtime.device.type == "cuda" else []):
            with runtime.autocast():
                value = compiled(model, example)
            value.backward()
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"compile=true does not work on this machine: {reason}") from error
    model.zero_grad()
    return compiled


def _recompute_masks() -> None:
    """Let the backward pass recompute dropout masks, because compiled CPU loops are very slow at storing booleans.

    This is a private PyTorch setting; benchmarks/private_kernels.py measures its gain. Without it, masks are stored.
    """
    import torch._functorch.config as config  # slow to import, as all of the compiler is

    if hasattr(config, "aggressive_recomputation"):
        config.aggressive_recomputation = True
