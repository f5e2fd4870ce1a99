"""Builds the trainer of a run: its corpus, model, optimizer, schedule and loss, each once."""

import time

import torch

from gpt import models, tasks
from gpt.base.errors import RequestError
from gpt.base.runtime import select_runtime
from gpt.config.command import Command
from gpt.config.schema import TrainConfig
from gpt.data.batch import Data, OneBatch
from gpt.data.text import ShortWindows, ShuffledWindows
from gpt.models import STAGE, Stage
from gpt.registry import Choice
from gpt.session.start import Fork, Start
from gpt.session.user_module import UserModule
from gpt.training.checks import check_causality, check_trainable
from gpt.training.compilation import compile_losses
from gpt.training.length import decide_length
from gpt.training.memory import recompute_blocks, within_memory
from gpt.training.metrics import chosen_metrics
from gpt.training.objectives import Objective
from gpt.training.optimizers import OPTIMIZER
from gpt.training.processes import World
from gpt.training.schedules import SCHEDULE, check_rates, check_warmup
from gpt.training.trainer import Trainer

_COPIES = 3  # of the weights: themselves, their gradients, and at least one moment of every optimizer


def build_trainer(start: Start, command: Command, device: torch.device, world: World) -> Trainer:
    """The trainer of a run, at iteration 0, the same on every rank.

    Raises RequestError for inconsistent values, if possible before the corpus is read, and UserError if the corpus is
    unavailable.
    """
    config, settings = start.config, start.config.training
    metrics, schedule = chosen_metrics(config.metrics), SCHEDULE.partial(config.schedule)
    if settings.length[0] == "max_iters":
        check_warmup(config.schedule, settings.max_iters)
    make_optimizer, stage = OPTIMIZER.partial(config.optimizer), STAGE.find(config.model)
    tasks.of(config.data).check_training(command.given)
    task, corpus = tasks.load(config.data, stage, start.vocabulary, start.corpus)

    torch.manual_seed(config.seed)
    model, objective = _build_model(config, task.vocab_size, device, world), Objective.of(settings)
    objective.prepare(model)
    model.to(device)
    runtime = select_runtime(device, config.dtype, model)
    optimizer = make_optimizer(model=model, learning_rate=settings.learning_rate)

    started = time.perf_counter()
    data = configured_data(task.data(corpus, model, device), config)
    trainer = Trainer(
        config, task, corpus, model, optimizer, schedule, data, runtime, objective, metrics=metrics, world=world
    )
    check_causality(trainer)
    if config.compile:
        compile_losses(trainer, objective)
    decide_length(trainer, start.state)
    check_rates(config.schedule, schedule, trainer.settings.max_iters)
    if world.is_first or settings.budget is None:
        check_warmup(config.schedule, trainer.settings.max_iters, is_estimate=settings.budget is not None)
    if isinstance(stage, UserModule):
        known = stage.identity(model, has_own_weights=not isinstance(start, Fork))
        choice = Choice(_target_=config.model.target, **known)
        trainer.config = trainer.config.model_copy(update={"model": choice})

    preparing_seconds = time.perf_counter() - started  # compiling, and reading the text once
    start.load_into(trainer)
    trainer.state.preparing_seconds += preparing_seconds
    trainer.broadcast()
    return trainer


def _build_model(config: TrainConfig, vocab_size: int, device: torch.device, world: World) -> Stage:
    """The model, newly initialised. Raises RequestError for one that does not fit into memory or cannot be trained."""
    try:
        with within_memory(device, copies=_COPIES):
            model = models.build(config.model, vocab_size)
    except RuntimeError as error:
        if config.model.is_user_code:
            raise
        # PyTorch has no error of its own for a tensor that the CPU's memory cannot hold.
        raise RequestError(f"this model cannot be built, probably for lack of memory: {error}") from error
    check_trainable(model)
    count, settings = len(getattr(model, "members", ())), config.training
    if count and (settings.grad_accumulation > 1 or world.size > 1 or settings.batch_size < count):
        raise RequestError(
            f"{config.stage} divides each batch among its {count} members: it takes one process, "
            f"training.grad_accumulation=1 and a training.batch_size of at least {count}"
        )
    if settings.recompute:
        recompute_blocks(model)
    return model


def configured_data(data: Data, config: TrainConfig) -> Data:
    """The windows in random order, shorter at first, or the same batch over and over."""
    settings = config.training
    if settings.windows == "shuffled":
        data = ShuffledWindows(data)
    if settings.short_window:
        data = ShortWindows(data, settings.short_window, settings.short_iters)
    return data if config.overfit is None else OneBatch(data)
