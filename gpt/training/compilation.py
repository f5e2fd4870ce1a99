"""Compiled steps: slow to start, then faster."""

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from gpt.data.batch import Batch
from gpt.errors import UserError
from gpt.runtime import Runtime, is_large
from gpt.training.evaluation import Loss, batch_loss
from gpt.training.precompiled import PrecompiledLoss, RandomNumbersError

log = logging.getLogger(__name__)


def training_losses(
    model: nn.Module, batches: Sequence[Batch], runtime: Runtime, *, parts: int, label_smoothing: float, compile: bool
) -> tuple[Loss, Loss]:
    """The loss to train with, and the one that evaluations report.

    With `compile`, the first is compiled before the clock starts, by a forward and backward pass over one of `parts`
    parts of an example batch of each shape. Raises UserError where this machine cannot compile.
    """
    if not compile:
        return functools.partial(batch_loss, label_smoothing=label_smoothing), batch_loss
    examples = [batch.part(0, parts) for batch in batches]
    with _explained():
        if runtime.device.type == "cpu" and not is_large(model) and len(examples[0].inputs) == 1:
            with contextlib.suppress(RandomNumbersError):
                return _prepared(PrecompiledLoss(model, label_smoothing, runtime), model, examples, runtime), batch_loss
        compiled = _just_in_time(model, runtime, label_smoothing, graphs=parts == 1)
        loss = _prepared(compiled, model, examples, runtime)
    # On a CPU, compilation does not speed up an evaluation's large passes.
    gains = runtime.device.type != "cpu" and label_smoothing == 0
    return loss, loss if gains else batch_loss


def _just_in_time(model: nn.Module, runtime: Runtime, label_smoothing: float, *, graphs: bool) -> Loss:
    log.info("compiling; the first time takes up to a minute")  # later ones use the compiler's cache on disk
    _configure_compiler(runtime.device)
    mode = None
    # A small stage's time goes into launching kernels, which CUDA graphs save. They overwrite the gradients that
    # several parts of a batch would add up.
    if graphs and runtime.device.type == "cuda" and not is_large(model):
        mode = "reduce-overhead"
    loss = functools.partial(batch_loss, label_smoothing=label_smoothing)
    compiled: Loss = torch.compile(loss, dynamic=False, mode=mode)
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
    """Turn errors of the compiler into one line."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"compile=true does not work on this machine: {reason}") from error


def _configure_compiler(device: torch.device) -> None:
    """Choose two of PyTorch's private settings, where it has them."""
    import torch._functorch.config as config  # slow to import, as all of the compiler is

    # Writing to this cache crashes the process now and then (PyTorch's issue 177442); the others are enough.
    if hasattr(config, "enable_autograd_cache"):
        config.enable_autograd_cache = False
    # Compiled CPU loops are very slow at storing booleans, so the backward pass recomputes dropout masks.
    # benchmarks/private_kernels.py measures the gain.
    if device.type == "cpu" and hasattr(config, "aggressive_recomputation"):
        config.aggressive_recomputation = True
