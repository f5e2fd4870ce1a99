"""Files of tensors: safetensors, whose metadata have the iteration."""

from pathlib import Path

from safetensors import safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from gpt.base.errors import UserError, printable
from gpt.base.files import checked_file, damaged_as_user_error


def of_run(tensors: dict[str, Tensor], iteration: int) -> bytes:
    """The content of a run's file of tensors, after `iteration` updates."""
    return serialised(tensors, {"iteration": str(iteration)})  # one entry: their order is not fixed


def serialised(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as the content of a safetensors file. Tied weights, which share memory, are each stored in full."""
    separate, seen = {}, set()
    for name, tensor in tensors.items():
        separate[name] = (tensor.clone() if tensor.data_ptr() in seen else tensor).contiguous()
        seen.add(tensor.data_ptr())
    return safetensors_torch.save(separate, metadata)


def iteration_of(path: Path) -> int:
    """After how many updates a file was saved.

    Raises UserError if it is missing or too short, or does not say so.
    """
    with damaged_as_user_error(path), safe_open(checked_file(path), "pt") as file:
        return int(file.metadata()["iteration"])


def shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of a file's tensors, by name, without memory for their values. Raises UserError."""
    with damaged_as_user_error(path), safe_open(checked_file(path), "pt") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read(path: Path, *, may_be_nan: str | None = None) -> dict[str, Tensor]:
    """A file's tensors, on the CPU. Raises UserError for NaN or Inf in another tensor than `may_be_nan`."""
    with damaged_as_user_error(path), safe_open(checked_file(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if name := nonfinite({name: tensor for name, tensor in tensors.items() if name != may_be_nan}):
        raise UserError(f"{path} is damaged: {printable(name)} contains NaN or Inf")
    return tensors


def nonfinite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor that contains NaN or Inf, if any."""
    wrong = (name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all())
    return next(wrong, None)
