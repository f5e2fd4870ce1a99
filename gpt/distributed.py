"""Several processes that train one model, started by torchrun: each on its part of every batch."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from gpt.errors import UserError

# How gloo and nccl say that a process does not answer any more.
_LOST = ("connection closed by peer", "connection reset by peer", "gloo", "nccl", "timed out")
_PATIENCE = timedelta(minutes=10)  # until a silent process is given up, which ends all of them


@dataclass(frozen=True)
class World:
    """This process's place among all of them; alone by default."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> "World":
        """The world that torchrun describes in the environment: nccl between GPUs, gloo between CPUs."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
        return cls(torch.distributed.get_rank(), size)

    def __str__(self) -> str:
        return "" if self.size == 1 else f", {self.size} processes"

    def leave(self) -> None:
        """Say goodbye to the others."""
        if self.size > 1:
            torch.distributed.destroy_process_group()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within, that another process died is an error like any other: UserError."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(sign in str(error).lower() for sign in _LOST):
                raise
            raise UserError("another process of this training is gone; resume=RUN_FOLDER goes on without it") from error

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are averaged over all processes while they are computed."""
        return model if self.size == 1 else nn.parallel.DistributedDataParallel(model)

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)

    def agree(self, value: int) -> int:
        """The largest of what the processes say."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device="cuda" if torch.cuda.is_available() else "cpu")
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return int(tensor)

    def share(self, value: str) -> str:
        """What the first process says."""
        values = [value]
        if self.size > 1:
            torch.distributed.broadcast_object_list(values)
        return values[0]


ALONE = World()
