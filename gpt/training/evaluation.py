"""The mean loss of a model: estimated over random batches, or exact over every target of a split once.

All losses are mean cross-entropies in nats per token.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpt.base.errors import DivergedError
from gpt.base.losses import Loss, LossScope
from gpt.base.runtime import Runtime
from gpt.data.batch import IGNORED, Batch, Data, Targets
from gpt.models import Remembering
from gpt.training.objectives import BatchLoss, batch_loss
from gpt.training.processes import ALONE, World
from gpt.training.trainer import Trainer

# Evaluation batches are joined and cut into passes of this many tokens: few enough for the caches of a CPU, enough to
# keep a GPU busy.
_TOKENS_PER_PASS_ON_CPU, _TOKENS_PER_PASS = 4_096, 65_536
_VALUES_ON_CPU, _VALUES = 2**26, 2**28  # of a layer, in a pass
_OF_COUNTS = 8  # tensors of probabilities and counts


def tokens_per_pass(runtime: Runtime, model: nn.Module) -> int:
    """How many tokens an evaluation computes at a time: fewer with very wide layers or a large vocabulary."""
    on_cpu = runtime.device.type == "cpu"
    most, values = (_TOKENS_PER_PASS_ON_CPU, _VALUES_ON_CPU) if on_cpu else (_TOKENS_PER_PASS, _VALUES)
    widest = max((size for parameter in model.parameters() for size in parameter.shape), default=1)
    tensors = _OF_COUNTS if isinstance(model, Remembering) else 1  # of the widest size at once
    return max(1, min(most, values // (widest * tensors)))


@torch.no_grad()
def mean_loss(
    model: nn.Module, targets: Targets, name: str, runtime: Runtime, loss: BatchLoss = batch_loss, world: World = ALONE
) -> Tensor:
    """The mean over all these targets, with the model in evaluation mode: a scalar on the device.

    Nothing here waits for the device; reading the result does. Several processes split the batches.
    """
    was_training = model.training
    model.eval()
    place = "cpu" if runtime.device.type == "mps" else runtime.device  # MPS lacks float64
    sums = torch.zeros(2, dtype=torch.float64, device=place)  # of losses, of targets
    # The bar appears only when an evaluation takes long.
    bar = tqdm(
        total=targets.count,
        desc=name,
        unit="token",
        unit_scale=True,
        leave=False,
        delay=2,
        disable=None if world.is_first else True,
    )
    try:
        with runtime.all_threads(), bar:
            for number, batch in enumerate(targets):
                if number % world.size == world.rank:
                    with runtime.autocast():
                        mean = loss(model, batch)
                    sums[0] += mean.to(sums.device, sums.dtype) * batch.tokens
                    sums[1] += batch.tokens
                bar.update(batch.tokens)
    finally:
        model.train(was_training)
    world.all_reduce_sum(sums)
    return sums[0] / sums[1]


def estimated_losses(trainer: Trainer, loss: BatchLoss = batch_loss) -> tuple[float, float]:
    """The estimated losses on the train and val splits, over random batches determined by the iteration."""
    losses = []
    for split in ("train", "val"):
        targets, name = estimation_targets(trainer, split), f"estimating {split} loss"
        losses.append(mean_loss(trainer.model, targets, name, trainer.runtime, loss, trainer.world))
    train, val = torch.stack(losses).tolist()  # waits for the device, once
    return train, val


def estimation_targets(trainer: Trainer, split: str) -> Targets:
    """The targets that a loss is estimated over."""
    settings, size = trainer.settings, tokens_per_pass(trainer.runtime, trainer.model)
    return trainer.data.estimation_batches(
        split, trainer.config.seed, trainer.state.iteration, settings.eval_iters, settings.batch_size, size
    )


def exact_loss(
    model: nn.Module,
    data: Data,
    split: str,
    *,
    most: int | None = None,
    runtime: Runtime,
    world: World = ALONE,
    over: LossScope | None = None,
) -> Loss:
    """The mean over every target of the split, each counted once, or over a sample of about `most` of them.

    `over` is what is known of the split. Raises DivergedError if it is NaN or Inf.
    """
    targets = data.every_target_once(split, tokens_per_pass(runtime, model), most)
    over = over or LossScope(split=split)
    return loss_over(model, targets, f"exact {split} loss", runtime, over, sizes=data.sizes, world=world)


def loss_over(
    model: nn.Module,
    targets: Targets,
    name: str,
    runtime: Runtime,
    over: LossScope,
    *,
    loss: BatchLoss = batch_loss,
    sizes: Tensor | None = None,
    world: World = ALONE,
) -> Loss:
    """The mean over all these targets, described by `over`; `sizes`: see `Data.sizes`.

    Raises DivergedError if it is NaN or Inf.
    """
    text = torch.zeros(0 if sizes is None else sizes.shape[1], dtype=torch.int64)  # characters, bytes

    def counted() -> Iterator[Batch]:
        for batch in targets:
            if sizes is not None:
                text.add_(sizes[batch.targets[batch.targets != IGNORED].cpu()].sum(dim=0))
            yield batch

    mean = mean_loss(model, replace(targets, batches=counted()), name, runtime, loss, world).item()
    if not math.isfinite(mean):
        raise DivergedError(f"the {name} is NaN or Inf: the weights are damaged, or far too large")
    counts = dict(zip(("bytes", "characters"), reversed(text.tolist()), strict=False))
    counted_over = over.model_copy(update={"count": targets.count, "of": targets.of, **counts})
    return Loss(nats=mean, how="exact", over=counted_over)
