"""How good a model is: the mean loss over batches, be they drawn at random or every target of a split once.

All losses are mean cross-entropies in nats per token.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gpt.data import Batch, Data
from gpt.device import Runtime
from gpt.distributed import ALONE, World

# Evaluation batches are joined and cut into passes of this many tokens: few enough for the caches of a CPU, or
# enough to keep a GPU busy; and in either case a small stage does not pay for every batch on its own.
_TOKENS_PER_PASS_ON_CPU, _TOKENS_PER_PASS = 4_096, 65_536


def batch_loss(model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """The mean loss over every target of a batch: a scalar, nats per token.

    With label smoothing, a share of every target's probability is spread over the vocabulary ("Rethinking the
    Inception Architecture for Computer Vision", Szegedy et al., 2016, section 7).
    """
    logits = model(*batch.inputs)  # (B, T, V)
    return cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), label_smoothing=label_smoothing)


Loss = Callable[[nn.Module, Batch], Tensor]  # batch_loss, or what a compiler made of it


def tokens_per_pass(runtime: Runtime) -> int:
    """How many tokens an evaluation takes at a time."""
    return _TOKENS_PER_PASS_ON_CPU if runtime.device.type == "cpu" else _TOKENS_PER_PASS


@torch.no_grad()
def mean_loss(
    model: nn.Module,
    batches: Iterable[Batch],
    name: str,
    runtime: Runtime,
    loss: Loss = batch_loss,
    world: World = ALONE,
) -> Tensor:
    """The mean over all targets of all batches, with the model in evaluation mode: a scalar on the device.

    Nothing waits for the device here; whoever reads the number does. Processes share the batches among them.
    """
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=runtime.accumulator)  # of losses, of targets
    # The bar shows only where an evaluation takes so long that one wonders.
    bar = tqdm(batches, name, unit="pass", leave=False, delay=2, disable=None if world.is_first else True)
    try:
        with runtime.all_threads():
            for number, batch in enumerate(bar):
                if number % world.size == world.rank:
                    with runtime.autocast():
                        mean = loss(model, batch)
                    sums[0] += mean.to(sums.device, sums.dtype) * batch.tokens
                    sums[1] += batch.tokens
    finally:
        model.train(was_training)
    world.add_up(sums)
    return sums[0] / sums[1]


def exact_loss(model: nn.Module, data: Data, split: str, *, runtime: Runtime, world: World = ALONE) -> float:
    """The mean over every target of the split, each counted once."""
    batches = data.every_target_once(split, tokens_per_pass(runtime))
    return mean_loss(model, batches, f"exact {split} loss", runtime, world=world).item()
