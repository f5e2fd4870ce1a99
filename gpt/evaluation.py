"""How good a model is: an estimate from random batches, and the exact loss over a split.

All losses are mean cross-entropies in nats per token.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gpt.data import Batch, TextData
from gpt.device import Runtime

# Evaluation batches are joined and cut into passes of this many tokens: few enough for the caches of a CPU, or
# enough to keep a GPU busy; and in either case a small stage does not pay for every batch on its own.
_TOKENS_PER_PASS_ON_CPU, _TOKENS_PER_PASS = 4_096, 65_536


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean loss over every target of a batch: a scalar, nats per token."""
    logits = model(batch.inputs)  # (B, T, V)
    return cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten())


Loss = Callable[[nn.Module, Batch], Tensor]  # batch_loss, or what a compiler made of it


def estimated_loss(
    model: nn.Module,
    data: TextData,
    split: str,
    *,
    eval_iters: int,
    batch_size: int,
    generator: torch.Generator,
    runtime: Runtime,
    loss: Loss = batch_loss,
) -> Tensor:
    """The mean over `eval_iters` random batches of `batch_size` windows: a scalar on the device.

    Nothing waits for the device here; whoever reads the number does.
    """
    windows = eval_iters * batch_size
    passes = -(-windows // _windows_per_pass(data, runtime))
    sizes = [windows // passes + (i < windows % passes) for i in range(passes)]  # as equal as can be
    batches = (data.batch(split, size, generator) for size in sizes)
    return _mean_loss(model, batches, passes, f"estimating {split} loss", runtime, loss)


def exact_loss(model: nn.Module, data: TextData, split: str, *, runtime: Runtime) -> float:
    """The mean over every target of the split, each counted once, in windows side by side."""
    per_pass = _windows_per_pass(data, runtime)
    passes = -(-data.tokens(split) // (per_pass * data.block_size))
    loss = _mean_loss(model, data.every_target_once(split, per_pass), passes, f"exact {split} loss", runtime)
    return loss.item()


def _windows_per_pass(data: TextData, runtime: Runtime) -> int:
    tokens = _TOKENS_PER_PASS_ON_CPU if runtime.device.type == "cpu" else _TOKENS_PER_PASS
    return max(1, tokens // data.block_size)


@torch.no_grad()
def _mean_loss(
    model: nn.Module, batches: Iterable[Batch], passes: int, name: str, runtime: Runtime, loss: Loss = batch_loss
) -> Tensor:
    """The mean over all targets of all batches, with the model in evaluation mode (dropout off)."""
    was_training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=runtime.accumulator)
    targets = 0
    # The bar shows only where an evaluation takes so long that one wonders.
    bar = tqdm(batches, name, total=passes, unit="pass", leave=False, delay=2, disable=None)
    with runtime.all_threads():
        for batch in bar:
            with runtime.autocast():
                mean = loss(model, batch)
            total += mean.to(total.device, total.dtype) * batch.targets.numel()
            targets += batch.targets.numel()
    model.train(was_training)
    return total / targets
