"""Compiled training steps: slower to start, then faster."""

import contextlib
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from gpt.base.errors import UserError
from gpt.base.runtime import Runtime, is_large, random_numbers_kept
from gpt.data.batch import Batch
from gpt.training.objectives import BatchLoss, Objective
from gpt.training.trainer import Trainer

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


def compile_losses(trainer: Trainer, objective: Objective) -> None:
    """Have the trainer train with a compiled objective and, where it gains, evaluate with it, before the clock starts.

    Raises UserError if this machine cannot compile.
    """
    parts = trainer.world.size * trainer.settings.grad_accumulation
    examples = [trainer.batch(i).part(0, parts) for i in sorted({0, trainer.settings.short_iters})]  # of every shape
    with trainer.runtime.settings():  # A compiled step depends on them.
        trainer.loss = compiled(objective, trainer.model, examples, trainer.runtime, is_whole=parts == 1)
    # On a CPU, compilation does not speed up an evaluation's large passes.
    if trainer.runtime.device.type != "cpu" and objective.label_smoothing == 0:
        trainer.reported_loss = trainer.loss


def compiled(
    objective: Objective, model: nn.Module, examples: Sequence[Batch], runtime: Runtime, *, is_whole: bool
) -> BatchLoss:
    """The objective, compiled by a forward and backward pass over each example; `is_whole`: a batch has one part.

    Raises UserError if this machine cannot compile.
    """
    with _explained():
        log.info("compiling; the first time takes up to a minute")  # The compiler keeps a cache on disk.
        # CUDA graphs save a small stage the time to launch kernels. They overwrite gradients, so the parts of a batch
        # could not add up.
        graphs = is_whole and runtime.device.type == "cuda" and not is_large(model)
        loss: BatchLoss = torch.compile(objective.__call__, dynamic=False, mode="reduce-overhead" if graphs else None)
        with random_numbers_kept():
            for example in examples:
                with runtime.autocast():
                    value = loss(model, example)
                value.backward()
        model.zero_grad()
    return loss


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn compiler errors into one line."""
    from torch._dynamo.exc import TorchDynamoException  # slow to import, like the whole compiler

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"compile=true does not work on this machine: {reason}") from error
