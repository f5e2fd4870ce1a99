"""Files of tensors: safetensors whose header begins with an entry of the run.

{"__metadata__":{"checksum":"<SHA-256 of all that follows> format 1 iteration 60"}, ...
"""

import hashlib
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

from safetensors import safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from gpt.base.errors import UserError, printable
from gpt.base.files import PLACE, checked_file, parsing
from gpt.runs.formats import FORMAT, check_format

_ENTRY = re.compile(rb'"checksum":"([0-9a-f]{64}) format ([0-9]{1,9}) iteration ([0-9]{1,18})"')
_ENTRY_ENDS = 2**8  # bytes from the beginning


class Entry(NamedTuple):
    """The first entry in the header of a file of tensors."""

    checksum: str
    iteration: int  # the updates before it was saved


def sealed(tensors: dict[str, Tensor], iteration: int) -> list[bytes | memoryview]:
    """The content of a file, in parts: joining them would double the memory. Raises MemoryError if it runs out."""
    # One entry, because the library does not write several in a fixed order.
    content = memoryview(serialised(tensors, {"checksum": f"{PLACE} format {FORMAT} iteration {iteration}"}))
    start = bytes(content[:_ENTRY_ENDS]).index(PLACE.encode())
    rest = content[start + len(PLACE) :]
    return [content[:start], hashlib.sha256(rest).hexdigest().encode(), rest]


def serialised(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as the content of a safetensors file. Tied weights, which share memory, are each stored in full.

    Raises MemoryError if memory runs out.
    """
    separate, seen = {}, set()
    for name, tensor in tensors.items():
        separate[name] = (tensor.clone() if tensor.data_ptr() in seen else tensor).contiguous()
        seen.add(tensor.data_ptr())
    try:
        return safetensors_torch.save(separate, metadata)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # The library has no memory for a copy.
            raise MemoryError from None
        raise


def entry(path: Path) -> Entry:
    """The entry in a file's header, not verified.

    Raises UserError if it is missing, has no such entry, or has a format that cannot be read.
    """
    with parsing(path), checked_file(path).open("rb") as file:
        return _entry(path, file)


def verify(path: Path) -> Entry:
    """The entry of a file whose checksum matches. Raises UserError if it does not, or as in `entry`."""
    with parsing(path), checked_file(path).open("rb") as file:
        found = _entry(path, file)
        if hashlib.file_digest(file, "sha256").hexdigest() != found.checksum:
            raise UserError(f"{path} is damaged: its checksum does not match its content")
        return found


def shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of a verified file's tensors, by name, without memory for their values. Raises UserError."""
    with parsing(path), safe_open(path, "pt") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read(path: Path, *, may_be_nan: str | None = None) -> dict[str, Tensor]:
    """A verified file's tensors, on the CPU. Raises UserError for NaN or Inf in another tensor than `may_be_nan`."""
    with parsing(path), safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if name := nonfinite({name: tensor for name, tensor in tensors.items() if name != may_be_nan}):
        raise UserError(f"{path} is damaged: {printable(name)} contains NaN or Inf")
    return tensors


def nonfinite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor that contains NaN or Inf, if any."""
    wrong = (name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all())
    return next(wrong, None)


def _entry(path: Path, file: BinaryIO) -> Entry:
    """The entry in a file's header; leaves the file positioned after the checksum."""
    found = _ENTRY.search(file.read(_ENTRY_ENDS))
    if found is None:
        raise UserError(f"{path} is damaged: it does not begin with a checksum")
    check_format(int(found[2]), path)
    file.seek(found.end(1))
    return Entry(found[1].decode(), int(found[3]))
