"""Small trainings for the tests: a stage, an optimizer and a schedule of conf/ at a test's length."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from gpt.base.runtime import Runtime
from gpt.config.command import Command
from gpt.config.composing import compose
from gpt.config.schema import CheckpointConfig, TrainConfig
from gpt.data.batch import Batch, Data
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.models import checked
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.tasks.continuation import Continuation
from gpt.training.loop import train
from gpt.training.objectives import batch_loss
from gpt.training.optimizers import OPTIMIZER, Optimizer
from gpt.training.schedules import SCHEDULE, Schedule
from gpt.training.trainer import Trainer
from gpt.training.watchers import NonFiniteGuard, Watcher
from gpt.watching.recorder import Recorder
from tests.conftest import CPU, REPOSITORY, build_small, small_corpus, split_text

OPTIMIZERS = ["adamw", "muon", "sgd"]
SCHEDULES = ["constant", "cosine", "linear", "inverse_sqrt", "trapezoid"]
VOCAB_SIZE = len(set(small_corpus()))
LEARNING_RATE = 1e-3
MAX_ITERS = 20


def choice(group: str, name: str, **changes: Any) -> Choice:
    """conf/GROUP/NAME.yaml, but for `changes`."""
    values: Any = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / group / f"{name}.yaml"))
    return Choice.model_validate(values | changes)


def small_optimizer(
    model: nn.Module, name: str = "adamw", learning_rate: float = LEARNING_RATE, **changes: Any
) -> Optimizer:
    """The optimizer of conf/optimizer/NAME.yaml, but for `changes`."""
    return OPTIMIZER.build(choice("optimizer", name, **changes), model=model, learning_rate=learning_rate)


def small_schedule(name: str = "constant", **changes: Any) -> Schedule:
    """The schedule of conf/schedule/NAME.yaml, but for `changes`."""
    return SCHEDULE.partial(choice("schedule", name, **changes))


@functools.cache
def usual_config() -> TrainConfig:
    """The configuration of train.py without words, with 20 iterations and no logged steps."""
    short = {"max_iters": MAX_ITERS, "eval_interval": 10, "eval_iters": 2, "log_interval": None}
    return compose(Command("train", {f"training.{key}": value for key, value in short.items()}))


def small_trainer(
    stage: str = "v5",
    *,
    seed: int = 1,
    optimizer: str = "adamw",
    learning_rate: float = LEARNING_RATE,
    runtime: Runtime = CPU,
    **changes: Any,
) -> Trainer:
    """A training of the stage at its beginning, with windows of 8 characters; `changes` are those of the stage."""
    size = {"block_size": 8} if stage == "v7" else {}
    model = build_small(stage, vocab_size=VOCAB_SIZE, seed=seed, **(size | changes))
    torch.manual_seed(seed)  # of the dropout masks
    own = small_optimizer(model, optimizer, learning_rate)
    data: Any = None  # `configured` sets it
    task = Continuation(CharTokenizer(small_corpus()))
    corpus = split_text(small_corpus())
    return Trainer(usual_config(), task, corpus, checked(model), own, small_schedule(), data, runtime)


def configured(
    trainer: Trainer, data: Data, *, schedule: Schedule | None = None, seed: int = 1, **changes: Any
) -> Trainer:
    """The trainer with this data and 20 iterations.

    `changes` are those of the trainer, such as its loss, of its configuration, and of the settings of the training.
    """
    config, settings = usual_config(), {}
    trainer.data, trainer.schedule = data, schedule or small_schedule()
    trainer.loss = trainer.reported_loss = batch_loss
    for key, value in changes.items():
        if key in Trainer.__dataclass_fields__:
            setattr(trainer, key, value)
        elif key in TrainConfig.model_fields:
            config = config.model_copy(update={key: value})
        else:
            settings[key] = value
    training = config.training.model_copy(update=settings)
    trainer.config = config.model_copy(update={"training": training, "seed": seed})
    return trainer


def train_up(trainer: Trainer, data: Data, *, watchers: Sequence[Watcher] = (), **changes: Any) -> None:
    """Train up to iteration 20, with `changes` of `configured`."""
    train(configured(trainer, data, **changes), watchers)


def train_recorded(
    trainer: Trainer, data: Data, run: RunFolder, *, watchers: Sequence[Watcher] = (), **changes: Any
) -> Recorder:
    """The same with a recorder, before the other watchers."""
    configured(trainer, data, **changes)
    guard = NonFiniteGuard(trainer)
    recorder = Recorder(trainer, run, guard)
    train(trainer, [guard, recorder, *watchers])
    return recorder


def checkpoints(**changes: Any) -> CheckpointConfig:
    """When checkpoints are saved: as usual, but for `changes`."""
    return usual_config().checkpoint.model_copy(update=changes)


def train_small(
    stage: str, data: Data, *, optimizer: str = "adamw", learning_rate: float = LEARNING_RATE, **changes: Any
) -> Trainer:
    """A stage trained over 20 iterations."""
    own = {key: changes[key] for key in ("seed", "runtime") if key in changes}
    trainer = small_trainer(stage, optimizer=optimizer, learning_rate=learning_rate, **own)
    train_up(trainer, data, **changes)
    return trainer


def losses(trainer: Trainer) -> list[float]:
    """Every estimated loss of a training, and the loss of its last mini-batch."""
    estimated = [loss for evaluation in trainer.state.evaluations for loss in (evaluation.train, evaluation.val)]
    return [*estimated, trainer.last_batch.item()]


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """The tensors' bytes, which tell NaN from NaN and 0 from -0."""
    return {name: tensor.detach().cpu().contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def weights(trainer: Trainer) -> dict[str, bytes]:
    """The bytes of the model's weights."""
    return bits(trainer.model.state_dict())


def exploding_loss(factor: float, *iterations: int) -> Callable[[nn.Module, Batch], Tensor]:
    """A loss that is multiplied by `factor` in these iterations, counted from 0."""
    calls = iter(range(10**9))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return batch_loss(model, batch) * (factor if next(calls) in iterations else 1.0)

    return loss
