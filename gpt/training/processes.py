"""Data-parallel training under torchrun or Slurm: each process computes its part of every batch."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

from gpt.base.errors import RequestError, UserError
from gpt.base.seeding import generator

_TIMEOUT = timedelta(minutes=10)  # time after which an unresponsive process ends the run

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """This process's rank and the number of processes; by default, a single process."""

    rank: int = 0
    size: int = 1

    @classmethod
    @contextlib.contextmanager
    def joined(cls, device: str = "auto") -> Iterator["World"]:
        """Join the process group that torchrun or Slurm describes in the environment: NCCL between GPUs, else gloo.

        Raises UserError if the group cannot be joined.
        """
        if "SUBMITIT_EXECUTOR" in os.environ and "WORLD_SIZE" not in os.environ:  # a Slurm job of one or more tasks
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if os.environ.get("WORLD_SIZE", "1") == "1":
            yield cls()
            return
        on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
        if on_gpu:
            # Slurm may show a task only its own GPU.
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        if not on_gpu and device in ("auto", "mps") and torch.backends.mps.is_available():
            raise RequestError("several processes cannot share an MPS device: add device=cpu")
        # With a GPU, both backends: a resumed run may use device=cpu.
        try:
            torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"cannot join the other processes: {str(error).partition(chr(10))[0]}") from error
        try:
            yield cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        finally:
            torch.distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes and logs."""
        return self.rank == 0

    def reseed(self, seed: int, iteration: int) -> None:
        """Give each rank except 0 its own dropout masks, a function of the iteration. A checkpoint has rank 0's."""
        if not self.is_first:
            torch.manual_seed(generator(seed, "rank", self.rank, iteration).initial_seed())

    def all_reduce_sum(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all processes, in one all-reduce: many small ones are mostly latency."""
        if self.size == 1:
            return
        message = torch.cat([tensor.flatten() for tensor in tensors])
        with needing_others():
            torch.distributed.all_reduce(message)
        for tensor, total in zip(tensors, message.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def broadcast(self, value: Value) -> Value:
        """The value of rank 0."""
        values = [value]
        if self.size > 1:
            with needing_others():
                torch.distributed.broadcast_object_list(values)
        return values[0]


@contextlib.contextmanager
def needing_others() -> Iterator[None]:
    """Wrap a collective operation, which fails if another process is gone. Raises UserError."""
    try:
        yield
    except RuntimeError as error:
        raise UserError("another process of this run died; continue with resume=RUN_FOLDER") from error


ALONE = World()
