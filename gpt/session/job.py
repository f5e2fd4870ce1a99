"""A job: everything that a training run needs, built from its configuration; the command line and Python share it."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gpt import models, tasks
from gpt.base.errors import RequestError
from gpt.base.runtime import seed_everything, select_device, select_runtime
from gpt.data.batch import Batch, Data
from gpt.data.corpus import Corpus
from gpt.data.one_batch import OneBatch
from gpt.data.short_windows import ShortWindows
from gpt.data.shuffled_windows import ShuffledWindows
from gpt.models import STAGE
from gpt.session.forking import fitted
from gpt.session.plan import Plan
from gpt.tasks import Task
from gpt.training.compilation import training_losses
from gpt.training.evaluation import exact_loss
from gpt.training.memory import check_memory
from gpt.training.metrics import chosen_metrics
from gpt.training.objectives import Objective
from gpt.training.optimizers import OPTIMIZER, Optimizer
from gpt.training.processes import World
from gpt.training.progress import ExactLoss
from gpt.training.recipe import Recipe
from gpt.training.recomputing import recompute_blocks
from gpt.training.schedules import SCHEDULE, check_warmup
from gpt.training.state import TrainingState

Module = nn.Module | Callable[[int], nn.Module]  # a model, or what makes one for a vocabulary of that size


@dataclass(frozen=True)
class Job:
    """A task and its corpus, a model and its optimizer, and the recipe of the training."""

    task: Task
    corpus: Corpus
    model: nn.Module
    optimizer: Optimizer
    recipe: Recipe
    preparing_seconds: float  # spent on compiling and on reading the text once

    @classmethod
    def of(cls, plan: Plan, given: Collection[str], world: World, module: Module | None = None) -> "Job":
        """The job of a plan; `given` are the keys of the command line, `module` replaces the stage.

        Raises RequestError for inconsistent values, and UserError if the corpus is unavailable.
        """
        config, settings = plan.config, plan.config.training
        task, corpus = tasks.load(config.data, module or STAGE.find(config.model), plan.vocabulary)
        if config.init is not None:
            task = fitted(task, corpus, config)
        task.refuse_others(key for key in given if key.startswith("training."))
        plan.check(corpus.digest)
        schedule = SCHEDULE.partial(config.schedule)
        check_warmup(config.schedule, settings.max_iters)

        device = select_device(config.device)
        seed_everything(config.seed, deterministic=config.deterministic)
        model = made(module, task.vocab_size) if module is not None else models.build(config.model, task.vocab_size)
        if config.overfit is None:  # which trains on a few examples, whatever the size of a batch
            tokens = task.tokens_in_batch(settings.batch_size, models.block_size_of(model))
            check_memory(model, task.vocab_size, tokens // (world.size * settings.grad_accumulation), device)
        if settings.recompute:
            recompute_blocks(model)
        objective = Objective.of(settings)
        objective.prepare(model)
        model.to(device)
        plan.initialise(model, task.vocabulary(corpus))
        runtime = select_runtime(device, config.dtype, model)
        optimizer = OPTIMIZER.build(config.optimizer, model=model, learning_rate=settings.learning_rate)
        metrics = chosen_metrics(config.metrics)

        started = time.perf_counter()
        data: Data = task.data(corpus, model, device)
        if settings.windows == "shuffled":
            data = ShuffledWindows(data)
        if settings.short_window:
            data = ShortWindows(data, settings.short_window, settings.short_iters)
        if config.overfit is not None:
            data = OneBatch(data)
        examples = [
            data.training_batch(config.seed, i, settings.batch_size) for i in sorted({0, settings.short_iters})
        ]  # of every shape
        if module is not None:
            _check_logits(model, examples[0], task.vocab_size)
        loss, reported_loss = training_losses(
            model, examples, runtime, objective,
            parts=world.size * settings.grad_accumulation, compile=config.compile,
        )  # fmt: skip
        recipe = Recipe(
            data, schedule, settings, config.seed, runtime, loss, reported_loss, metrics,
            stop_below=config.overfit, world=world,
        )  # fmt: skip
        return cls(task, corpus, model, optimizer, recipe, time.perf_counter() - started)

    def begun(self, plan: Plan) -> TrainingState:
        """The state from which training starts or continues, the same on every rank."""
        state = TrainingState(self.model, self.optimizer, self.recipe.runtime)
        plan.begin(state, self.recipe.schedule)
        state.progress.preparing_seconds += self.preparing_seconds
        state.broadcast(self.recipe.world)
        return state

    def exact_loss(self) -> ExactLoss:
        """The loss over every target of the validation split once, or over a sample of a long one."""
        recipe = self.recipe
        return exact_loss(
            self.model, recipe.data, "val",
            most=recipe.settings.exact_tokens, runtime=recipe.runtime, world=recipe.world,
        )  # fmt: skip


def made(module: Module, vocab_size: int) -> nn.Module:
    """The module itself, or the one that it makes for a vocabulary of this size.

    Raises RequestError if it is no module, or lacks a block_size or parameters.
    """
    check_module(module)
    model = module if isinstance(module, nn.Module) else module(vocab_size)
    if not isinstance(model, nn.Module):
        raise RequestError(f"module made {type(model).__name__}, which is not a torch.nn.Module")
    models.check(model, type(model).__name__)
    return model


def check_module(module: object) -> None:
    """Raise RequestError unless it may be a module or what makes one."""
    if not callable(module):
        raise RequestError(f"module is {type(module).__name__}, but must be a torch.nn.Module or a function of V")


@torch.no_grad()
def _check_logits(model: nn.Module, batch: Batch, vocab_size: int) -> None:
    """Raise RequestError unless a module that is no stage has trainable weights and logits of the right shape."""
    name, was_training = type(model).__name__, model.training
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RequestError(f"{name} has no parameters to train: all of them have requires_grad=False")
    model.eval()
    with torch.random.fork_rng():
        logits = model(*(x[:1] for x in batch.inputs))
    model.train(was_training)
    expected, found = (*batch.targets[:1].shape, vocab_size), type(logits).__name__
    if isinstance(logits, Tensor):
        if logits.shape == expected and logits.is_floating_point():
            return
        found = f"{tuple(logits.shape)}, {str(logits.dtype).removeprefix('torch.')}"
    raise RequestError(f"{name} must return logits (B, T, V), here {expected}, but returned {found}")
