"""The trainer: what is trained, on what and how, and its state.

A checkpoint saves `Trainer.state` and `Trainer.tensors()`. The position in the data is not among them: a batch is a
pure function of the seed and the iteration.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor

from gpt.base.errors import UserError
from gpt.base.runtime import Runtime
from gpt.config.schema import TrainConfig, TrainingConfig
from gpt.data.batch import Batch, Data
from gpt.data.corpus import Corpus
from gpt.models import Stage
from gpt.tasks.task import Task
from gpt.training.metrics import Metric
from gpt.training.objectives import BatchLoss, batch_loss
from gpt.training.optimizers import Optimizer
from gpt.training.processes import ALONE, World, needing_others
from gpt.training.schedules import Schedule
from gpt.training.state import State


@dataclass
class Trainer:
    """What is trained and how, the same on every rank except for `world`; and its state, at iteration 0 at first."""

    config: TrainConfig  # with final numbers, as recorded
    task: Task
    corpus: Corpus
    model: Stage
    optimizer: Optimizer
    schedule: Schedule
    data: Data  # the corpus in batches
    runtime: Runtime
    loss: BatchLoss = batch_loss  # to train with
    reported_loss: BatchLoss = batch_loss  # to report in evaluations
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # to report beside it
    world: World = ALONE

    state: State = field(default_factory=State)
    average: dict[str, Tensor] = field(default_factory=dict)  # the mean of the weights after `state.averaged`
    gradient_norm: Tensor | None = None  # of the last update, before clipping, if it was computed
    learning_rates: dict[str, float] = field(default_factory=dict)  # of the last update, for each group of parameters

    def __post_init__(self) -> None:
        device = self.runtime.device
        self.last_batch = torch.full((), math.nan, device=device)  # the loss on the last training mini-batch
        self.skipped = torch.zeros((), device=device)  # updates skipped because of NaN or Inf
        self.finite = torch.zeros((), device=device)  # updates before the first skipped one
        self._started: float | None = None

    @property
    def settings(self) -> TrainingConfig:
        """The settings below training."""
        return self.config.training

    def batch(self, iteration: int) -> Batch:
        """The batch of an iteration."""
        return self.data.training_batch(self.config.seed, iteration, self.settings.batch_size)

    @property
    def last_iteration(self) -> int:
        """The iteration that ends the training; with a budget of seconds, as planned so far."""
        return self.settings.max_iters if self.state.planned is None else self.state.planned

    def next_rates(self) -> dict[str, float]:
        """The learning rate of each group of parameters in the next iteration, or in the last one."""
        last = self.last_iteration
        iteration = min(self.state.iteration, last - 1)
        return {group: self.schedule(iteration, last, peak) for group, peak in self.optimizer.peaks.items()}

    def count_step(
        self, loss: Tensor, tokens: int, skip: Tensor, learning_rates: dict[str, float], gradient_norm: Tensor | None
    ) -> None:
        """Count an update, with the mean loss of its batch; `skip` is 1 if it was skipped."""
        self.state.iteration += 1
        self.state.tokens += tokens
        self.last_batch, self.learning_rates, self.gradient_norm = loss, learning_rates, gradient_norm
        self.skipped += skip
        self.finite += self.skipped == 0

    # The clock measures training steps, without evaluations and checkpoints.

    def start_clock(self) -> None:
        """Start the training clock."""
        self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """Wait for the device, then stop the clock."""
        self.runtime.synchronize()
        self.state.seconds = self.seconds
        self._started = None

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Pause the clock."""
        self.stop_clock()
        yield
        self.start_clock()

    @property
    def seconds(self) -> float:
        """The seconds of training steps so far."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.state.seconds + running

    @property
    def tokens_per_second(self) -> float:
        """The mean speed over all training steps so far."""
        return self.state.tokens / self.seconds if self.seconds else 0.0

    # The average of the weights, if there is one.

    @torch.no_grad()
    def update_average(self) -> None:
        """Add the current weights to the average ("Attention Is All You Need", section 6.1)."""
        self.state.averaged.append(self.state.iteration)
        for name, tensor in self.model.state_dict().items():
            self.average.setdefault(name, torch.zeros_like(tensor))
        for name, parameter in self.model.named_parameters():
            if name in self.average:
                self.average[name] += (parameter - self.average[name]) / len(self.state.averaged)
        self.copy_buffers()

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Copy the model's buffers, which are not averaged, to the average."""
        parameters = {name for name, _ in self.model.named_parameters()}
        for name, tensor in self.model.state_dict().items():
            if name not in parameters:
                self.average[name].copy_(tensor)

    # What a checkpoint saves beside the state.

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that changes in training by name, and the states of the random generators."""
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        random = {f"random.{name}": _generator(name).get_rng_state() for name in self._generators()}
        return self._tensors() | optimizer | random

    def restore(self, state: State, saved: dict[str, Tensor]) -> None:
        """Load what a checkpoint saved. Raises UserError if it belongs to another model or optimizer."""
        self.state = state.model_copy(deep=True)
        self.average = {name: torch.zeros_like(t) for name, t in self.model.state_dict().items() if state.averaged}
        tensors, others = self._tensors(), ("optimizer.", "random.")
        kinds = {name: (t.shape, t.dtype) for name, t in saved.items() if not name.startswith(others)}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != kinds:
            raise UserError("the checkpoint belongs to another model or optimizer")
        of_optimizer = {name: tensor for name, tensor in saved.items() if name.startswith("optimizer.")}
        with torch.no_grad():
            self.optimizer.restore({name.partition(".")[2]: tensor for name, tensor in of_optimizer.items()})
            for name, tensor in tensors.items():
                tensor.copy_(saved[name])
        for name in self._generators():
            if f"random.{name}" in saved:  # absent if the run was saved on another device
                try:
                    _generator(name).set_rng_state(saved[f"random.{name}"])
                except (TypeError, RuntimeError):
                    raise UserError(f"the checkpoint is damaged: random.{name} is not a generator's state") from None

    def broadcast(self) -> None:
        """Send the state and the tensors of rank 0 to all ranks."""
        if self.world.size == 1:
            return
        self.state = self.world.broadcast(self.state)
        if self.state.averaged and not self.average:
            self.average = {name: torch.zeros_like(t) for name, t in self.model.state_dict().items()}
        self.optimizer.restore(self.world.broadcast({name: x.cpu() for name, x in self.optimizer.tensors().items()}))
        for tensor in self._tensors().values():
            content = tensor.detach().view(-1).view(torch.uint8)  # as bytes, since gloo and NCCL know no int16
            with needing_others():
                torch.distributed.broadcast(content, src=0)

    def _tensors(self) -> dict[str, Tensor]:
        groups = {"model": self.model.state_dict(), "average": self.average}
        tensors = {f"{group}.{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return tensors | {"last_batch": self.last_batch, "skipped": self.skipped, "finite": self.finite}

    def _generators(self) -> list[str]:
        return sorted({"cpu", self.runtime.device.type})


def _generator(device: str) -> ModuleType:  # torch, torch.cuda or torch.mps
    return torch if device == "cpu" else getattr(torch, device)
