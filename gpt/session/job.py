"""A job: all that a training run needs, built from its plan, on the command line and in Python."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gpt import models, tasks
from gpt.base.errors import RequestError
from gpt.base.losses import Loss, Saved
from gpt.base.runtime import select_device, select_runtime
from gpt.config.schema import TrainConfig
from gpt.data.batch import Data, OneBatch
from gpt.data.corpus import Corpus
from gpt.data.text import ShortWindows, ShuffledWindows
from gpt.data.vocabulary import Vocabulary
from gpt.models import STAGE, Stage
from gpt.registry import Choice
from gpt.runs.weights import shapes_only
from gpt.session.length import with_length
from gpt.session.modules import OfProgram, check_logits, check_trainable
from gpt.session.plan import Plan
from gpt.tasks import Task
from gpt.training.compilation import training_losses
from gpt.training.evaluation import exact_loss
from gpt.training.memory import check_weights, recompute_blocks
from gpt.training.metrics import chosen_metrics
from gpt.training.objectives import Objective
from gpt.training.optimizers import OPTIMIZER, Optimizer
from gpt.training.processes import World
from gpt.training.progress import Progress
from gpt.training.recipe import Recipe
from gpt.training.schedules import SCHEDULE, check_warmup
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from gpt.watching.loggers import chosen_loggers

_COPIES = 3  # of the weights: themselves, their gradients, and at least one moment of every optimizer
_TRIED = 16  # tokens of a window that a stage is tried with before it is trained
_SOME_VOCABULARY = 256  # to build a stage for its shapes alone, before the corpus is read

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What is trained: a task and its corpus, a model and its optimizer, and the recipe of the training."""

    plan: Plan
    config: TrainConfig  # with final numbers, as recorded
    task: Task
    corpus: Corpus
    model: Stage
    optimizer: Optimizer
    recipe: Recipe
    loggers: Sequence[Callable[..., Watcher]]  # each takes the run folder
    preparing_seconds: float  # spent on compiling and on reading the text once
    changed: Sequence[str] = ()  # differences from the documented run of the stage, as key=value; on rank 0

    @classmethod
    def of(cls, plan: Plan, world: World) -> "Job":
        """The job of a planned run.

        Raises RequestError for inconsistent values, if possible before the corpus is read, and UserError if the corpus
        is unavailable.
        """
        config, settings = plan.config, plan.config.training
        device, metrics = select_device(config.device), chosen_metrics(config.metrics)
        loggers = chosen_loggers(config.logger) if plan.command.writes else []
        schedule, objective = SCHEDULE.partial(config.schedule), Objective.of(settings)
        if settings.length[0] == "max_iters":
            check_warmup(config.schedule, settings.max_iters)
        schedule(0, 1, settings.learning_rate)  # one's own may fail
        OPTIMIZER.partial(config.optimizer)
        tasks.of(config.data).refuse_others(key for key in plan.command.given if key.startswith("training."))
        stage, is_own = STAGE.find(config.model), config.model.is_own
        if not is_own:
            with shapes_only(config.model):
                objective.prepare(models.build(config.model, _SOME_VOCABULARY))
        task, corpus = tasks.load(config.data, stage, plan.vocabulary, plan.corpus)

        torch.manual_seed(config.seed)
        model = _built(config.model, task.vocab_size, device)
        check_trainable(model)
        _check_members(model, config, world)
        if settings.recompute:
            recompute_blocks(model)
        objective.prepare(model)
        model.to(device)
        runtime = select_runtime(device, config.dtype, model)
        optimizer = OPTIMIZER.build(config.optimizer, model=model, learning_rate=settings.learning_rate)

        started = time.perf_counter()
        data = as_configured(task.data(corpus, model, device), config)
        examples = [
            data.training_batch(config.seed, i, settings.batch_size) for i in sorted({0, settings.short_iters})
        ]  # one of every shape
        check_logits(model, examples[0], task.vocab_size, longest=None if is_own else _TRIED)
        with runtime.settings():  # A compiled step depends on them.
            loss, reported_loss = training_losses(
                model,
                examples,
                runtime,
                objective,
                parts=world.size * settings.grad_accumulation,
                compile=config.compile,
            )
        drawn = {"drawn": data.estimated_over}
        over = {split: task.over(split, corpus, model).model_copy(update=drawn) for split in ("train", "val")}
        recipe = Recipe(
            data,
            schedule,
            settings,
            config.seed,
            runtime,
            loss,
            reported_loss,
            metrics,
            over,
            stop_below=config.overfit,
            world=world,
        )
        recipe = with_length(recipe, model, plan.checkpoint.progress if plan.checkpoint else None)
        if world.is_first or settings.budget is None:
            check_warmup(config.schedule, recipe.settings.max_iters, is_estimate=settings.budget is not None)
        final: dict[str, Any] = {"training": recipe.settings}
        if isinstance(stage, OfProgram):
            told_by = stage.identity(model, has_own_weights=plan.parent is None)
            final["model"] = Choice(_target_=config.model.target, **told_by)
        preparing_seconds = time.perf_counter() - started
        config = config.model_copy(update=final)
        return cls(plan, config, task, corpus, model, optimizer, recipe, loggers, preparing_seconds)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the model, and whether they cover the corpus."""
        return self.task.vocabulary(self.corpus)

    def state(self) -> TrainingState:
        """The state from which training begins or continues, the same on every rank.

        Raises UserError for a damaged checkpoint.
        """
        state = TrainingState(self.model, self.optimizer, self.recipe.runtime)
        self.plan.begin(state)
        state.progress.preparing_seconds += self.preparing_seconds
        state.broadcast(self.recipe.world)
        return state

    def of_length(self, progress: Progress) -> "Job":
        """The job with the number of iterations that a budget of seconds came to."""
        if progress.planned is None:
            return self
        settings = self.config.training.model_copy(update={"max_iters": progress.iteration})
        length = f"training.max_iters={progress.iteration}"
        changed = [length if change.startswith("training.max_iters=") else change for change in self.changed]
        return replace(self, config=self.config.model_copy(update={"training": settings}), changed=changed)

    def exact_loss(self, weights: Saved) -> Loss:
        """The loss over every target of the validation split once, or over a sample of a long one.

        `weights`: the weights that the model has.
        """
        recipe = self.recipe
        loss = exact_loss(
            self.model,
            recipe.data,
            "val",
            most=recipe.settings.exact_tokens,
            runtime=recipe.runtime,
            world=recipe.world,
            over=recipe.over["val"].model_copy(update={"drawn": None}),
        )
        return loss.model_copy(update={"weights": weights})


def _check_members(model: Stage, config: TrainConfig, world: World) -> None:
    """Raise RequestError if an ensemble, whose members share the rows of a batch, would not get whole batches."""
    count, settings = len(getattr(model, "members", ())), config.training
    if count and (settings.grad_accumulation > 1 or world.size > 1 or settings.batch_size < count):
        raise RequestError(
            f"{config.stage} divides each batch among its {count} members: it takes one process, "
            f"training.grad_accumulation=1 and a training.batch_size of at least {count}"
        )


def as_configured(data: Data, config: TrainConfig) -> Data:
    """The windows in random order, shorter at first, or the same batch over and over."""
    settings = config.training
    if settings.windows == "shuffled":
        data = ShuffledWindows(data)
    if settings.short_window:
        data = ShortWindows(data, settings.short_window, settings.short_iters)
    return data if config.overfit is None else OneBatch(data)


def _built(stage: Choice, vocab_size: int, device: torch.device) -> Stage:
    """The stage. Raises RequestError, before memory is allocated, if it does not fit; one's own is built only once."""
    if not stage.is_own:
        with shapes_only(stage):
            planned = models.build(stage, vocab_size)
        check_weights(planned, torch.device("cpu"))
        check_weights(planned, device, copies=_COPIES)
    return models.build(stage, vocab_size)
