"""The training state: everything that changes during training and is therefore saved in a checkpoint."""

import contextlib
import math
import time
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor, nn

from gpt.base.errors import UserError
from gpt.base.runtime import Runtime
from gpt.training.optimizers import Optimizer
from gpt.training.processes import World, needing_others
from gpt.training.progress import Progress


class TrainingState:
    """The state of a run: initially at iteration 0, or restored from a checkpoint.

    The position in the data is not part of it: a batch is a pure function of the seed and the iteration.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, runtime: Runtime) -> None:
        self.model = model
        self.optimizer = optimizer
        self.progress = Progress()
        self.average: dict[str, Tensor] = {}  # the mean of the weights after the iterations of `progress.averaged`
        device = runtime.device
        self.last_batch = torch.full((), math.nan, device=device)  # the loss on the last training mini-batch
        self.skipped = torch.zeros((), device=device)  # updates skipped because of NaN or Inf
        self.finite = torch.zeros((), device=device)  # updates before the first skipped one
        self.gradient_norm: Tensor | None = None  # of the last update, before clipping, if it was computed
        self.learning_rates: dict[str, float] = {}  # of the last update, for each group of parameters
        self._runtime = runtime
        self._started: float | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, including the states of the random generators."""
        return self._tensors() | {f"random.{name}": _generator(name).get_rng_state() for name in self._generators()}

    def restore(self, progress: Progress, saved: dict[str, Tensor]) -> None:
        """Load a saved state. Raises UserError if it belongs to another model or optimizer."""
        self.progress = progress.model_copy(deep=True)
        self.average = {name: torch.zeros_like(t) for name, t in self.model.state_dict().items() if progress.averaged}
        if any(name.startswith("optimizer.") for name in saved):
            self.optimizer.allocate()
        tensors = self._tensors()
        kinds = {name: (t.shape, t.dtype) for name, t in saved.items() if not name.startswith("random.")}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != kinds:
            raise UserError("the checkpoint belongs to another model or optimizer")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(saved[name])
        for name in self._generators():
            if f"random.{name}" in saved:  # absent if the run was saved on another device
                try:
                    _generator(name).set_rng_state(saved[f"random.{name}"])
                except (TypeError, RuntimeError):
                    raise UserError(f"the checkpoint is damaged: random.{name} is not a generator's state") from None

    def broadcast(self, world: World) -> None:
        """Send the state of rank 0 to all ranks."""
        if world.size == 1:
            return
        self.progress = world.broadcast(self.progress)
        if self.progress.averaged and not self.average:
            self.average = {name: torch.zeros_like(t) for name, t in self.model.state_dict().items()}
        if world.broadcast(bool(self.optimizer.state)) and not world.is_first:
            self.optimizer.allocate()
        for tensor in self._tensors().values():
            content = tensor.detach().view(-1).view(torch.uint8)  # as bytes, since gloo and NCCL know no int16
            with needing_others():
                torch.distributed.broadcast(content, src=0)

    @torch.no_grad()
    def update_average(self) -> None:
        """Add the current weights to the average ("Attention Is All You Need", section 6.1)."""
        self.progress.averaged.append(self.progress.iteration)
        for name, tensor in self.model.state_dict().items():
            if name not in self.average:
                self.average[name] = torch.zeros_like(tensor)
            if tensor.is_floating_point():
                self.average[name] += (tensor - self.average[name]) / len(self.progress.averaged)
            else:  # not trained
                self.average[name].copy_(tensor)

    def use_average(self) -> None:
        """Load the average, if there is one, into the model."""
        if self.average:
            self.model.load_state_dict(self.average)

    def count_step(
        self, loss: Tensor, tokens: int, skip: Tensor, learning_rates: dict[str, float], gradient_norm: Tensor | None
    ) -> None:
        """Count an update, with the mean loss of its batch; `skip` is 1 if it was skipped."""
        self.progress.iteration += 1
        self.progress.tokens += tokens
        self.last_batch, self.learning_rates, self.gradient_norm = loss, learning_rates, gradient_norm
        self.skipped += skip
        self.finite += self.skipped == 0

    def plan(self, seconds: float, budget: float) -> None:
        """Plan the last iteration of a run that has trained for `seconds` of its `budget`."""
        progress = self.progress
        left = progress.iteration * (budget - seconds) / seconds
        progress.planned = progress.iteration + max(0 if seconds >= budget else 1, round(left))

    @property
    def is_evaluated(self) -> bool:
        """Whether the current weights have been evaluated."""
        return [evaluation.iteration for evaluation in self.progress.evaluations[-1:]] == [self.progress.iteration]

    def start_clock(self) -> None:
        """Start the training clock."""
        self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """Wait for the device, then stop the clock."""
        self._runtime.synchronize()
        self.progress.seconds = self.seconds
        self._started = None

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Pause the clock."""
        self.stop_clock()
        yield
        self.start_clock()

    @property
    def tokens_per_second(self) -> float:
        """The mean speed over all training steps so far."""
        return self.progress.tokens / self.seconds if self.seconds else 0.0

    @property
    def seconds(self) -> float:
        """The seconds of training steps so far, without evaluations and checkpoints."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.progress.seconds + running

    def _tensors(self) -> dict[str, Tensor]:
        groups = {"model": self.model.state_dict(), "optimizer": self.optimizer.state, "average": self.average}
        tensors = {f"{group}.{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return tensors | {"last_batch": self.last_batch, "skipped": self.skipped, "finite": self.finite}

    def _generators(self) -> list[str]:
        return sorted({"cpu", self._runtime.device.type})


def _generator(device: str) -> ModuleType:  # torch, torch.cuda or torch.mps
    return torch if device == "cpu" else getattr(torch, device)
