"""All that changes while a model is trained, and that a checkpoint therefore keeps."""

import math
from types import ModuleType

import torch
from torch import Tensor, nn

from gpt.checkpoint import Progress
from gpt.config import TrainingConfig
from gpt.device import Runtime
from gpt.distributed import World
from gpt.errors import UserError
from gpt.optimizer import AdamW
from gpt.runs import Evaluation
from gpt.seeding import generator


class TrainingState:
    """A training at its beginning, until it goes on or is restored.

    Batches are not in it: they are a pure function of the seed and the iteration (gpt/seeding.py).
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, runtime: Runtime) -> None:
        self.model = model
        self.optimizer = AdamW(model, config)
        self.iteration = 0  # updates done
        self.evaluations: list[Evaluation] = []
        self.best: Evaluation | None = None  # the evaluation whose weights are kept
        self.last_batch = torch.full((), math.nan, device=runtime.device)  # the loss on the last training mini-batch
        self.tokens = 0  # targets learnt from, so far
        self.seconds = 0.0  # of training steps; evaluations are left out
        self.average: dict[str, Tensor] = {}  # the mean of the weights at `averaged` evaluations
        self.averaged = 0
        self.skipped = torch.zeros((), device=runtime.device)  # updates with numbers that were not finite
        self.finite = torch.zeros((), device=runtime.device)  # updates before the first of those
        self._devices = sorted({"cpu", runtime.device.type})  # whose random states matter

    @torch.no_grad()
    def take_into_average(self) -> None:
        """Have the present weights count for the average ("Attention Is All You Need", section 6.1)."""
        self.averaged += 1
        for name, tensor in self.model.state_dict().items():
            if name not in self.average:
                self.average[name] = torch.zeros_like(tensor)
            self.average[name] += (tensor - self.average[name]) / self.averaged

    def progress(self) -> Progress:
        """The numbers that are no tensors."""
        last_batch = self.last_batch.item()
        return Progress(
            iteration=self.iteration,
            evaluations=self.evaluations,
            best=self.best,
            last_batch=last_batch if math.isfinite(last_batch) else None,
            averaged=self.averaged,
            tokens=self.tokens,
            training_seconds=self.seconds,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors: weights, optimizer moments, counts, and the states of the random generators."""
        random = {f"random.{device}": _random_module(device).get_rng_state() for device in self._devices}
        return {**self._own_tensors(), **random}

    def restore(self, progress: Progress, kept: dict[str, Tensor]) -> None:
        """Become what was kept, to the bit. Raises UserError if that was of another model."""
        for name in [name for name in kept if name.startswith("random.")]:
            state, device = kept.pop(name), name.removeprefix("random.")
            if device in self._devices:  # a run may go on elsewhere
                _random_module(device).set_rng_state(state)
        self.average = {name: torch.zeros_like(t) for name, t in self.model.state_dict().items() if progress.averaged}
        own = self._own_tensors()
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in kept.items()}:
            raise UserError("the checkpoint belongs to another model")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(kept[name])
        self._set(progress)

    def share(self, world: World) -> None:
        """Have every process go on from the first one's state; each with random numbers of its own."""
        if world.size == 1:
            return
        for tensor in self._own_tensors().values():
            torch.distributed.broadcast(tensor, src=0)
        self._set(Progress.model_validate_json(world.share(self.progress().model_dump_json())))
        if not world.is_first:
            torch.manual_seed(generator(torch.initial_seed(), "rank", world.rank, self.iteration).initial_seed())

    def _set(self, progress: Progress) -> None:
        self.iteration, self.evaluations, self.best = progress.iteration, list(progress.evaluations), progress.best
        self.last_batch.fill_(math.nan if progress.last_batch is None else progress.last_batch)
        self.averaged = progress.averaged
        self.tokens, self.seconds = progress.tokens, progress.training_seconds

    def _own_tensors(self) -> dict[str, Tensor]:
        model = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state().items()}
        average = {f"average.{name}": tensor for name, tensor in self.average.items()}
        return {**model, **optimizer, **average, "skipped": self.skipped, "finite": self.finite}


def _random_module(device: str) -> ModuleType:  # torch, torch.cuda or torch.mps
    return torch if device == "cpu" else getattr(torch, device)
