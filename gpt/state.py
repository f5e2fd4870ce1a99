"""All that changes while a model is trained, and that a checkpoint therefore keeps."""

import math
from types import ModuleType

import torch
from torch import Tensor, nn

from gpt.checkpoint import Checkpoint, Progress
from gpt.config import TrainingConfig
from gpt.device import Runtime
from gpt.errors import UserError
from gpt.optimizer import AdamW
from gpt.runs import Evaluation


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
        self.seconds = 0.0  # of training steps; evaluations are left out
        self.skipped = torch.zeros((), device=runtime.device)  # updates with numbers that were not finite
        self.finite = torch.zeros((), device=runtime.device)  # updates before the first of those
        self._devices = sorted({"cpu", runtime.device.type})  # whose random states matter

    def progress(self) -> Progress:
        """The numbers that are no tensors."""
        last_batch = self.last_batch.item()
        return Progress(
            iteration=self.iteration,
            evaluations=self.evaluations,
            best=self.best,
            last_batch=last_batch if math.isfinite(last_batch) else None,
            training_seconds=self.seconds,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors: weights, optimizer moments, counts, and the states of the random generators."""
        random = {f"random.{device}": _random_module(device).get_rng_state() for device in self._devices}
        return {**self._own_tensors(), **random}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what a checkpoint kept, to the bit. Raises UserError if that was of another model."""
        progress, kept = checkpoint.progress, checkpoint.tensors()
        for name in [name for name in kept if name.startswith("random.")]:
            state, device = kept.pop(name), name.removeprefix("random.")
            if device in self._devices:  # a run may go on elsewhere
                _random_module(device).set_rng_state(state)
        own = self._own_tensors()
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in kept.items()}:
            raise UserError(f"{checkpoint.path} belongs to another model")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(kept[name])
        self.iteration, self.evaluations, self.best = progress.iteration, list(progress.evaluations), progress.best
        self.last_batch.fill_(math.nan if progress.last_batch is None else progress.last_batch)
        self.seconds = progress.training_seconds

    def _own_tensors(self) -> dict[str, Tensor]:
        model = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state().items()}
        return {**model, **optimizer, "skipped": self.skipped, "finite": self.finite}


def _random_module(device: str) -> ModuleType:  # torch, torch.cuda or torch.mps
    return torch if device == "cpu" else getattr(torch, device)
