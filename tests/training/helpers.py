"""Small trainings for the tests: a stage, an optimizer and a schedule of conf/ at a test's length."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from gpt.base.runtime import Runtime
from gpt.config.schema import TrainingConfig
from gpt.data.batch import Batch, Data
from gpt.registry import Choice
from gpt.training.loop import train
from gpt.training.objectives import batch_loss
from gpt.training.optimizers import OPTIMIZER, Optimizer
from gpt.training.recipe import Recipe
from gpt.training.schedules import SCHEDULE, Schedule
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from tests.conftest import CPU, REPOSITORY, build_small, small_corpus

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


def small_state(
    stage: str = "v5",
    *,
    seed: int = 1,
    optimizer: str = "adamw",
    learning_rate: float = LEARNING_RATE,
    runtime: Runtime = CPU,
    **changes: Any,
) -> TrainingState:
    """A training of the stage at its beginning, with windows of 8 characters; `changes` are those of the stage."""
    size = {"block_size": 8} if stage == "v7" else {}
    model = build_small(stage, vocab_size=VOCAB_SIZE, seed=seed, **(size | changes))
    torch.manual_seed(seed)  # of the dropout masks
    return TrainingState(model, small_optimizer(model, optimizer, learning_rate), runtime)


def small_recipe(
    data: Data, schedule: Schedule | None = None, *, runtime: Runtime = CPU, seed: int = 1, **changes: Any
) -> Recipe:
    """20 iterations; `changes` are those of the recipe, such as its loss, and of its settings."""
    fields = Recipe.__dataclass_fields__.keys()
    own = {key: changes.pop(key) for key in list(changes) if key in fields}
    documented: Any = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "train.yaml").training)
    short = {"max_iters": MAX_ITERS, "eval_interval": 10, "eval_iters": 2, "log_interval": None}
    settings = TrainingConfig.model_validate(documented | short).model_copy(update=changes)
    return Recipe(data, schedule or small_schedule(), settings, seed, runtime, **own)


def train_state(
    state: TrainingState,
    data: Data,
    *,
    schedule: Schedule | None = None,
    watchers: Sequence[Watcher] = (),
    **changes: Any,
) -> None:
    """Train up to iteration 20, with `changes` of `small_recipe`."""
    train(state, small_recipe(data, schedule, **changes), watchers)


def train_small(
    stage: str,
    data: Data,
    *,
    optimizer: str = "adamw",
    learning_rate: float = LEARNING_RATE,
    schedule: Schedule | None = None,
    **changes: Any,
) -> TrainingState:
    """A stage trained over 20 iterations."""
    own = {key: changes[key] for key in ("seed", "runtime") if key in changes}
    state = small_state(stage, optimizer=optimizer, learning_rate=learning_rate, **own)
    train_state(state, data, schedule=schedule, **changes)
    return state


def losses(state: TrainingState) -> list[float]:
    """Every estimated loss of a training, and the loss of its last mini-batch."""
    estimated = [loss for evaluation in state.progress.evaluations for loss in (evaluation.train, evaluation.val)]
    return [*estimated, state.last_batch.item()]


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """The tensors' bytes, which tell NaN from NaN and 0 from -0."""
    return {name: tensor.detach().cpu().contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def weights(state: TrainingState) -> dict[str, bytes]:
    """The bytes of the model's weights."""
    return bits(state.model.state_dict())


def exploding_loss(factor: float, *iterations: int) -> Callable[[nn.Module, Batch], Tensor]:
    """A loss that is multiplied by `factor` in these iterations, counted from 0."""
    calls = iter(range(10**9))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return batch_loss(model, batch) * (factor if next(calls) in iterations else 1.0)

    return loss
