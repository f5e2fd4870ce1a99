"""The mean loss of a model: estimated over random batches, or exact over every target of a split once.

All losses are mean cross-entropies in nats per token.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gpt.data.batch import Batch, Data
from gpt.runtime import Runtime
from gpt.training.processes import ALONE, World

# Evaluation batches are joined and cut into passes of this many tokens: few enough for the caches of a CPU, or
# enough to keep a GPU busy; either way, a small stage avoids the overhead of one pass per batch.
_TOKENS_PER_PASS_ON_CPU, _TOKENS_PER_PASS = 4_096, 65_536


def batch_loss(model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """The mean loss over every target of a batch: a scalar, nats per token.

    With label smoothing, a share of every target's probability is spread over the vocabulary ("Rethinking the
    Inception Architecture for Computer Vision", Szegedy et al., 2016, section 7). A stage with `multi_token` above 0
    learns the token after the next as well, while it is in training mode.
    """
    targets = batch.targets  # (B, T)
    share = getattr(model, "multi_token", 0.0) if model.training else 0.0
    if not share or targets.shape[1] == 1:  # after a single token there is only the next
        return _cross_entropy(model(*batch.inputs), targets, label_smoothing)
    next_two = cast(Callable[..., tuple[Tensor, Tensor]], model.next_two)
    logits, second = next_two(*batch.inputs)  # (B, T, V) each
    loss = _cross_entropy(logits, targets, label_smoothing)
    return loss + share * _cross_entropy(second[:, :-1], targets[:, 1:], label_smoothing)


def _cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    return cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), label_smoothing=label_smoothing)


Loss = Callable[[nn.Module, Batch], Tensor]  # batch_loss, or its compiled form


def tokens_per_pass(runtime: Runtime) -> int:
    """How many tokens an evaluation computes at a time."""
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

    Nothing here waits for the device; reading the number does. Several processes split the batches.
    """
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=runtime.accumulator)  # of losses, of targets
    # The bar appears only when an evaluation takes long.
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
    world.all_reduce_sum(sums)
    return sums[0] / sums[1]


def estimated_losses(
    model: nn.Module,
    data: Data,
    *,
    seed: int,
    iteration: int,
    eval_iters: int,
    batch_size: int,
    runtime: Runtime,
    loss: Loss = batch_loss,
    world: World = ALONE,
) -> tuple[float, float]:
    """The estimated losses on the train and the val split."""
    losses = []
    for split in ("train", "val"):
        batches = data.estimation_batches(split, seed, iteration, eval_iters, batch_size, tokens_per_pass(runtime))
        losses.append(mean_loss(model, batches, f"estimating {split} loss", runtime, loss, world))
    train, val = torch.stack(losses).tolist()  # waits for the device, once
    return train, val


def exact_loss(model: nn.Module, data: Data, split: str, *, runtime: Runtime, world: World = ALONE) -> float:
    """The mean over every target of the split, each counted once."""
    batches = data.every_target_once(split, tokens_per_pass(runtime))
    return mean_loss(model, batches, f"exact {split} loss", runtime, world=world).item()


def loss_in_context(model: nn.Module, data: Data, split: str, *, runtime: Runtime) -> float | None:
    """The same mean in sliding windows, each target with at least half a window before it; None without windows."""
    batches = data.every_target_in_context(split, tokens_per_pass(runtime))
    return None if batches is None else mean_loss(model, batches, "loss in sliding windows", runtime).item()
