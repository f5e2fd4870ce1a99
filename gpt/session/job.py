"""A job: everything that a training run needs, built from its configuration; the command line and Python share it."""

import math
import sys
import time
from dataclasses import dataclass, replace

import torch
from torch import nn

from gpt import models, tasks
from gpt.base.choices import Choice
from gpt.base.losses import Loss, Saved, Seen
from gpt.base.runtime import select_device, select_runtime
from gpt.base.schema import TrainConfig, TrainingConfig
from gpt.data.batch import Data, OneBatch, tokens_in_epoch
from gpt.data.corpus import Corpus
from gpt.data.text import ShortWindows, ShuffledWindows
from gpt.models import STAGE
from gpt.runs.checkpoints import Checkpoint
from gpt.runs.weights import shapes_only
from gpt.session.folders import ContinuedFolder
from gpt.session.forking import Fork, fitted
from gpt.session.modules import Module, check_logits, made
from gpt.session.pacing import paced
from gpt.session.seen import seen_in_training
from gpt.session.start import Start
from gpt.tasks import Task
from gpt.training.compilation import training_losses
from gpt.training.evaluation import exact_loss
from gpt.training.memory import check_memory, check_weights, recompute_blocks
from gpt.training.metrics import chosen_metrics
from gpt.training.objectives import Objective
from gpt.training.optimizers import OPTIMIZER, Optimizer
from gpt.training.processes import World
from gpt.training.progress import Segment
from gpt.training.recipe import Recipe
from gpt.training.schedules import SCHEDULE, check_warmup
from gpt.training.state import TrainingState, check_extension

_COPIES = 3  # of the weights: themselves, their gradients, and at least one moment of every optimizer
_SOME_VOCABULARY = 256  # to build a stage for its shapes alone, before the corpus is read


@dataclass(frozen=True)
class Job:
    """A task and its corpus, a model and its optimizer, and the recipe of the training."""

    task: Task
    corpus: Corpus
    model: nn.Module
    optimizer: Optimizer
    recipe: Recipe
    seen: Seen | None  # what of the validation split the weights that it starts from were trained on
    preparing_seconds: float  # spent on compiling and on reading the text once

    @classmethod
    def of(cls, start: Start, world: World, module: Module | None = None) -> "Job":
        """The job of a run that begins like this; `module` replaces the stage.

        Raises RequestError for inconsistent values, before the corpus is read wherever that is possible, and UserError
        if the corpus is unavailable.
        """
        config, settings = start.config, start.config.training
        device, metrics = select_device(config.device), chosen_metrics(config.metrics)
        schedule, objective = SCHEDULE.partial(config.schedule), Objective.of(settings)
        check_warmup(config.schedule, settings.max_iters if settings.epochs is None else sys.maxsize)
        OPTIMIZER.partial(config.optimizer)
        tasks.of(config.data).refuse_others(key for key in start.request.given if key.startswith("training."))
        if module is None:
            with shapes_only():
                objective.prepare(models.build(config.model, _SOME_VOCABULARY))

        stage = module or STAGE.find(config.model)
        task, corpus = tasks.load(config.data, stage, start.vocabulary, start.corpus)
        if config.init is not None:
            task = fitted(task, corpus, config)

        torch.manual_seed(config.seed)
        model = made(module, task.vocab_size) if module is not None else _built(config.model, task.vocab_size, device)
        if config.overfit is None:  # which trains on a few examples, whatever the size of a batch
            tokens = task.tokens_in_batch(settings.batch_size, models.block_size_of(model))
            check_memory(model, task.vocab_size, tokens // (world.size * settings.grad_accumulation), device)
        if settings.recompute:
            recompute_blocks(model)
        objective.prepare(model)
        model.to(device)
        seen = None
        if isinstance(start.weights, Fork):
            seen = seen_in_training(start.weights.run, task, corpus, "val", stage)
            start.weights.load(model, task.vocabulary(corpus))
        elif start.weights is not None and start.weights.progress.evaluations:
            seen = start.weights.progress.evaluations[-1].val.over.seen
        runtime = select_runtime(device, config.dtype, model)
        optimizer = OPTIMIZER.build(config.optimizer, model=model, learning_rate=settings.learning_rate)

        started = time.perf_counter()
        data = _as_configured(task.data(corpus, model, device), config)
        examples = [
            data.training_batch(config.seed, i, settings.batch_size) for i in sorted({0, settings.short_iters})
        ]  # of every shape
        settings = _in_iterations(settings, data, examples[0].tokens)
        check_warmup(config.schedule, settings.max_iters)
        if module is not None:
            check_logits(model, examples[0], task.vocab_size)
        with runtime.settings():  # a compiled step depends on them
            loss, reported_loss = training_losses(
                model, examples, runtime, objective,
                parts=world.size * settings.grad_accumulation, compile=config.compile,
            )  # fmt: skip
        known = {"seen": seen, "drawn": data.estimated_over}
        over = {split: task.over(split, corpus, model).model_copy(update=known) for split in ("train", "val")}
        recipe = Recipe(
            data, schedule, settings, config.seed, runtime, loss, reported_loss, metrics, over,
            stop_below=config.overfit, world=world,
        )  # fmt: skip
        recipe = replace(recipe, settings=paced(model, recipe))
        return cls(task, corpus, model, optimizer, recipe, seen, time.perf_counter() - started)

    def begun(self, start: Start) -> TrainingState:
        """The state from which training begins or continues, the same on every rank.

        Raises UserError for a damaged checkpoint, RequestError if the run cannot be extended with this schedule.
        """
        state = TrainingState(self.model, self.optimizer, self.recipe.runtime)
        if isinstance(start.weights, Checkpoint) and isinstance(start.folder, ContinuedFolder):
            state.restore(start.weights.progress, start.weights.tensors())
            self._correct_rates(state)
            iteration, before, settings = state.progress.iteration, start.folder.before, self.recipe.settings
            if before.training.max_iters != settings.max_iters and before.schedule == start.config.schedule:
                check_extension(self.recipe.schedule, iteration, before.training.max_iters, settings.max_iters)
            if start.folder.changed != start.changed:
                state.progress.history.append(Segment(until=iteration, changed=start.folder.changed))
        state.progress.preparing_seconds += self.preparing_seconds
        state.broadcast(self.recipe.world)
        return state

    def _correct_rates(self, state: TrainingState) -> None:
        """Give an evaluation that was the last of a shorter run the learning rates of the next update, as any other."""
        progress = state.progress
        newest = progress.evaluations[-1] if progress.evaluations else None
        if newest is not None and newest.iteration == progress.iteration < self.recipe.settings.max_iters:
            rates = self.recipe.rates(newest.iteration, self.optimizer.peaks)
            progress.evaluations[-1] = newest.model_copy(update={"learning_rates": rates})

    def exact_loss(self, weights: Saved) -> Loss:
        """The loss over every target of the validation split once, or over a sample of a long one.

        `weights` says which ones the model has.
        """
        recipe = self.recipe
        loss = exact_loss(
            self.model, recipe.data, "val", most=recipe.settings.exact_tokens, runtime=recipe.runtime,
            world=recipe.world, over=recipe.over["val"].model_copy(update={"drawn": None}),
        )  # fmt: skip
        return loss.model_copy(update={"weights": weights})


def _as_configured(data: Data, config: TrainConfig) -> Data:
    """The windows in random order, shorter at first, or the same batch over and over."""
    settings = config.training
    if settings.windows == "shuffled":
        data = ShuffledWindows(data)
    if settings.short_window:
        data = ShortWindows(data, settings.short_window, settings.short_iters)
    return data if config.overfit is None else OneBatch(data)


def _in_iterations(settings: TrainingConfig, data: Data, tokens: int) -> TrainingConfig:
    """The settings with `epochs` converted to iterations of this many tokens each."""
    if settings.epochs is None:
        return settings
    iterations = math.ceil(settings.epochs * tokens_in_epoch(data) / tokens)
    return settings.model_copy(update={"max_iters": iterations, "epochs": None})


def _built(stage: Choice, vocab_size: int, device: torch.device) -> nn.Module:
    """The stage, if it fits into memory. Raises RequestError if it does not, before it takes any."""
    with shapes_only():
        planned = models.build(stage, vocab_size)
    check_weights(planned, torch.device("cpu"))
    check_weights(planned, device, copies=_COPIES)
    return models.build(stage, vocab_size)
