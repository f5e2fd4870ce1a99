"""Compiled training steps: slower to start, then faster."""

import contextlib
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from gpt.base.errors import UserError
from gpt.base.runtime import Runtime, is_large, random_numbers_kept
from gpt.data.batch import Batch
from gpt.training.objectives import BatchLoss, Objective, batch_loss

log = logging.getLogger(__name__)


def compiler_options(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """A context with two of PyTorch's private options, if it has them, for compiled losses."""
    import torch._functorch.config as config  # slow to import, like the whole compiler

    options = {
        # Writing to this cache occasionally crashes the process (PyTorch's issue 177442); the others are enough.
        "enable_autograd_cache": False,
        # Compiled CPU loops are very slow at storing booleans, so the backward pass recomputes dropout masks.
        # benchmarks/private_kernels.py measures the gain.
        "aggressive_recomputation": device.type == "cpu",
    }
    patch: contextlib.AbstractContextManager[None] = config.patch(
        {name: value for name, value in options.items() if hasattr(config, name)}
    )
    return patch


def training_losses(
    model: nn.Module, batches: Sequence[Batch], runtime: Runtime, objective: Objective, *, parts: int, compile: bool
) -> tuple[BatchLoss, BatchLoss]:
    """The objective to train with, and the loss that evaluations report.

    With `compile`, a forward and backward pass over one of `parts` parts of each batch compiles the objective, before
    the clock starts. Raises UserError if this machine cannot compile.
    """
    if not compile:
        return objective, batch_loss
    examples = [batch.part(0, parts) for batch in batches]
    with _explained():
        log.info("compiling; the first time takes up to a minute")  # The compiler keeps a cache on disk.
        # CUDA graphs save a small stage the time to launch kernels. They overwrite gradients, so the parts of a batch
        # could not add up.
        graphs = parts == 1 and runtime.device.type == "cuda" and not is_large(model)
        compiled = torch.compile(objective.__call__, dynamic=False, mode="reduce-overhead" if graphs else None)
        _prepare(compiled, model, examples, runtime)
    # On a CPU, compilation does not speed up an evaluation's large passes.
    gains = runtime.device.type != "cpu" and objective.label_smoothing == 0
    return compiled, compiled if gains else batch_loss


def _prepare(loss: BatchLoss, model: nn.Module, examples: Sequence[Batch], runtime: Runtime) -> None:
    """Compile a loss by a forward and backward pass over each example."""
    with random_numbers_kept():
        for example in examples:
            with runtime.autocast():
                value = loss(model, example)
            value.backward()
    model.zero_grad()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn compiler errors into one line."""
    from torch._dynamo.exc import TorchDynamoException  # slow to import, like the whole compiler

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"compile=true does not work on this machine: {reason}") from error
