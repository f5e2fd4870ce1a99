"""A recipe: everything the loop needs besides the state that it changes."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from gpt.base.losses import Loss, Over
from gpt.base.runtime import Runtime, is_large
from gpt.config.schema import TrainingConfig
from gpt.data.batch import Batch, Data
from gpt.training.gradient_tape import RecordedGradient
from gpt.training.metrics import Metric
from gpt.training.objectives import Autograd, BatchLoss, Gradient, Objective, batch_loss
from gpt.training.processes import ALONE, World
from gpt.training.progress import Evaluation, Progress
from gpt.training.schedules import Schedule

_RECORDED_FROM = 100  # iterations: recording takes up to a tenth of a second


@dataclass(frozen=True)
class Recipe:
    """What a model is trained on, how and for how long; the same on every rank, except for `world`."""

    data: Data
    schedule: Schedule
    settings: TrainingConfig
    seed: int
    runtime: Runtime
    loss: BatchLoss = batch_loss  # to train with
    reported_loss: BatchLoss = batch_loss  # to report in evaluations
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # to report beside it
    over: Mapping[str, Over] = field(  # the targets of estimated losses, by split
        default_factory=lambda: {split: Over(split=split) for split in ("train", "val")}
    )
    stop_below: float | None = None  # an estimated training loss below this ends the training
    world: World = ALONE

    def batch(self, iteration: int) -> Batch:
        """The batch of an iteration: a pure function of the seed and the iteration."""
        return self.data.training_batch(self.seed, iteration, self.settings.batch_size)

    def gradient(self, model: nn.Module) -> Gradient:
        """The function that computes the gradient: autograd, or a recording of it where that is faster."""
        autograd = Autograd(self.loss, self.runtime)
        is_small = self.runtime.device.type == "cpu" and not is_large(model)
        is_repeated = not self.data.lengths_vary and self.settings.max_iters >= _RECORDED_FROM
        is_plain = isinstance(self.loss, Objective) and not self.settings.recompute and self.world.size == 1
        return RecordedGradient(model, autograd) if is_small and is_repeated and is_plain else autograd

    def estimated(self, split: Literal["train", "val"], evaluation: Evaluation) -> Loss:
        """The estimated loss of an evaluation, with what it is over."""
        nats = getattr(evaluation, split)
        return Loss(nats=nats, how="estimated", over=self.over[split], weights=evaluation.iteration)

    def last(self, progress: Progress) -> int:
        """The iteration that ends the training; with a budget of seconds, as planned so far."""
        return self.settings.max_iters if progress.planned is None else progress.planned

    def rates(self, progress: Progress, peaks: dict[str, float]) -> dict[str, float]:
        """The learning rate of each group of parameters in the next iteration, or the last one, from its `peaks`."""
        last = self.last(progress)
        return {group: self.schedule(min(progress.iteration, last - 1), last, peak) for group, peak in peaks.items()}

    def evaluates(self, progress: Progress) -> bool:
        """Whether to evaluate before the next iteration.

        Evaluations come before the first iteration, at every `eval_interval`-th or each epoch's first, and at the end.
        """
        interval = self.settings.eval_interval
        if progress.iteration == 0 or progress.iteration >= self.last(progress):
            return True
        if interval == "epoch":
            return self._begins_epoch(progress.tokens, progress.evaluations[-1])
        return progress.iteration % interval == 0

    def evaluated(self, progress: Progress) -> list[int]:
        """The iterations so far, the current one included, that are evaluated with these settings.

        An extended run has also evaluated its former last iteration.
        """
        interval, last = self.settings.eval_interval, self.last(progress)
        if interval == "epoch":
            pairs = itertools.pairwise(progress.evaluations)
            found = [0, *(new.iteration for old, new in pairs if self._begins_epoch(new.tokens, old))]
        else:
            found = list(range(0, progress.iteration + 1, interval))
        is_at_end = progress.iteration >= last and progress.iteration != found[-1]
        return [*found, progress.iteration] if is_at_end else found

    def counted(self, progress: Progress) -> list[Evaluation]:
        """The evaluations so far that an uninterrupted run has too: only these decide about early ends."""
        due = {*self.evaluated(progress)}
        return [evaluation for evaluation in progress.evaluations if evaluation.iteration in due]

    def _begins_epoch(self, tokens: int, newest: Evaluation) -> bool:
        """Whether an epoch ended between an evaluation and this many tokens."""
        return tokens // self.data.epoch_tokens > newest.tokens // self.data.epoch_tokens

    def logs(self, iteration: int) -> bool:
        """Whether to record the update of an iteration, gradient norm included."""
        interval = self.settings.log_interval
        return interval is not None and (iteration + 1) % interval == 0

    def is_complete(self, progress: Progress) -> bool:
        """Whether the last iteration is done, or the training ends early."""
        return progress.iteration >= self.last(progress) or self.early_end(progress) is not None

    def early_end(self, progress: Progress) -> str | None:
        """Why the training ends before its last iteration, in words; None if it goes on.

        It ends only at an evaluation, because a run can be resumed between two evaluations.
        """
        if not progress.evaluations or progress.evaluations[-1].iteration != progress.iteration:
            return None
        if self.stop_below is not None and any(e.train < self.stop_below for e in self.counted(progress)[-1:]):
            return f"the training loss is below {self.stop_below:g}"
        if self.has_stalled(progress):
            return f"no lower validation loss in {self.settings.patience} evaluations (training.patience)"
        return None

    def has_stalled(self, progress: Progress) -> bool:
        """Whether the last `patience` evaluations had no lower validation loss than all before them."""
        patience = self.settings.patience
        if patience is None:
            return False
        losses = [evaluation.val for evaluation in self.counted(progress)]
        return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
