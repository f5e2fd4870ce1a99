"""The loss as a compiled function: slow to make, quicker to call."""

import logging

from torch import nn

from gpt.data import Batch
from gpt.device import Runtime, is_large
from gpt.errors import UserError
from gpt.evaluation import Loss

log = logging.getLogger(__name__)


def compiled_loss(loss: Loss, model: nn.Module, example: Batch, runtime: Runtime) -> Loss:
    """`loss` compiled, and called forward and backward on a batch of the shape that is to come.

    The compiler keeps its results in a cache on disk, so a second run starts in seconds.
    Raises UserError where this machine cannot compile.
    """
    import torch._dynamo.exc  # slow to import, as all of the compiler is
    import torch._functorch.config

    log.info("compiling; the first time takes up to a minute")
    mode = None
    if runtime.device.type == "cpu":
        # What backward needs of a mask it computes again: storing booleans is what the compiled loops are slowest at.
        torch._functorch.config.aggressive_recomputation = True
    elif runtime.device.type == "cuda" and not is_large(model):
        mode = "reduce-overhead"  # CUDA graphs: a small stage's time goes into starting kernels
    compiled: Loss = torch.compile(loss, dynamic=False, mode=mode)
    try:
        with torch.random.fork_rng([runtime.device] if runtime.device.type == "cuda" else []):
            with runtime.autocast():
                value = compiled(model, example)
            value.backward()
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"compile=true does not work here, leave it out: {reason}") from error
    model.zero_grad()
    return compiled
