"""Checkpoints: everything needed to resume a run bit-identically.

    checkpoints/00001500/state.safetensors    weights, optimizer moments, random states
                         best.safetensors     the run's best weights so far
                         checkpoint.json      the progress, and the checksums in both files

A checkpoint is written under a temporary name, flushed to disk, renamed, and read back before older ones are removed.
Its checksums are verified before memory is allocated for its tensors.
"""

import contextlib
import errno
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import model_validator
from torch import Tensor, nn

from gpt.base import files
from gpt.base.errors import UnreadableError, UserError
from gpt.base.record import Record
from gpt.runs import tensors as saved
from gpt.runs.folder import RunFolder
from gpt.runs.formats import to_json
from gpt.runs.records import read_record
from gpt.runs.weights import size_of_state
from gpt.training.progress import Progress

log = logging.getLogger(__name__)

_STATE, _BEST, _RECORD = "state.safetensors", "best.safetensors", "checkpoint.json"
_MAY_BE_NAN = "last_batch"  # the loss of the last mini-batch, which is only displayed


class _Contents(Record):
    largest = 2**25  # bytes, with 100,000 evaluations

    progress: Progress
    files: dict[str, str]  # the checksum in each

    @model_validator(mode="after")
    def _complete(self) -> Self:
        expected = {_STATE} if self.progress.best is None else {_STATE, _BEST}
        if self.files.keys() != expected:
            raise ValueError(f"it must have exactly the checksums of {' and '.join(sorted(expected))}")
        return self


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose checksums have been verified."""

    path: Path
    progress: Progress

    @classmethod
    def read(cls, path: Path, largest: int = sys.maxsize) -> "Checkpoint":
        """The checkpoint in the folder `path`. Raises UserError if any of it is missing or damaged.

        A file of more than `largest` bytes is not read.
        """
        for folder in (path.parent, path):
            if folder.is_symlink():
                raise UserError(f"{folder} is a link: a run's checkpoints must be in its folder")
        record = read_record(path / _RECORD, _Contents)
        for name, checksum in record.files.items():
            if saved.verify(path / name, largest).checksum != checksum:
                raise UserError(f"{path / name} is damaged: it belongs to another checkpoint")
        return cls(path, record.progress)

    def check_model(self, model: nn.Module) -> None:
        """Raise UserError if the state belongs to a model with other tensors, without allocating memory for it."""
        expected = {f"model.{name}": list(tensor.shape) for name, tensor in model.state_dict().items()}
        found = saved.shapes(self.path / _STATE)
        if {name: shape for name, shape in found.items() if name.startswith("model.")} != expected:
            raise UserError(f"{self.path} belongs to another model: its tensors have other shapes")

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the training state, on the CPU."""
        return saved.read(self.path / _STATE, may_be_nan=_MAY_BE_NAN)

    def restore_best(self, target: Path) -> None:
        """Restore the best weights as of this checkpoint to `target`."""
        if self.progress.best is None:
            target.unlink(missing_ok=True)
            return
        temporary = files.temporary_name(target)
        try:
            _link(self.path / _BEST, temporary)
            temporary.replace(target)
        finally:  # also where both were links to the same file, which makes replacing do nothing
            temporary.unlink(missing_ok=True)


def largest_state(model: nn.Module) -> int:
    """The maximum size in bytes of a checkpoint file of this model, to refuse sparse files.

    A state holds the weights, their average, and the optimizer's tensors, usually one or two per weight.
    """
    return 16 * size_of_state(model) + saved.LARGEST_HEADER


class Checkpoints:
    """The newest `keep` intact checkpoints of a run; their files have at most `largest` bytes each."""

    def __init__(self, run: RunFolder, keep: int, largest: int = sys.maxsize) -> None:
        self._run, self.folder = run, run.path / "checkpoints"
        self._best = run.weights("best")
        self._keep, self._largest = keep, largest
        self._intact: dict[int, bool] = {}  # by iteration; reading a checkpoint to know takes a while

    def save(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        """Add a checkpoint, with a copy of the run's best weights if it has any, and remove what is not kept.

        If the disk has no room for another, the oldest intact one is removed first, unless it is the only one. Raises
        UserError for NaN or Inf, because no run could resume from them.
        """
        if name := saved.nonfinite({name: tensor for name, tensor in tensors.items() if name != _MAY_BE_NAN}):
            raise UserError(f"{name} contains NaN or Inf: try a smaller training.learning_rate")
        try:
            self._add(progress, tensors)
        except OSError as error:
            intact = list(filter(self._is_intact, self._run.checkpoints()))
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or len(intact) < 2:
                raise
            self._remove(intact[0])
            self._add(progress, tensors)
        kept = list(filter(self._is_intact, self._run.checkpoints()))[-self._keep :]
        for iteration in self._run.checkpoints():
            if len(kept) == self._keep and iteration < kept[0]:
                self._remove(iteration)

    def _add(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        path = self._run.checkpoint(progress.iteration)
        self._run.lock.check()
        self.folder.mkdir(exist_ok=True)
        with _temporary_folder(self.folder) as new:
            # The best weights are replaced but never changed in place, so a hard link is as good as a copy.
            if progress.best is not None:
                _link(self._best, new / _BEST)
            files.write_flushed(new / _STATE, saved.sealed(tensors, progress.iteration))
            names = [_STATE] if progress.best is None else [_STATE, _BEST]
            checksums = {name: saved.entry(new / name).checksum for name in names}
            record = _Contents(progress=progress, files=checksums).model_dump(mode="json")
            files.write_flushed(new / _RECORD, to_json(record, indent=2).encode())
            files.flush_folder(new)
            self._run.lock.check()
            if os.path.lexists(path):  # damaged, or of the same iteration
                self._remove(progress.iteration)
            new.rename(path)
        files.flush_folder(self.folder)
        Checkpoint.read(path, self._largest)
        self._intact[progress.iteration] = True

    def _remove(self, iteration: int) -> None:
        self._run.lock.check()
        _delete(self._run.checkpoint(iteration))
        self._intact.pop(iteration, None)

    def _is_intact(self, iteration: int) -> bool:
        if iteration not in self._intact:
            self._intact[iteration] = False
            with contextlib.suppress(UserError):
                Checkpoint.read(self._run.checkpoint(iteration), self._largest)
                self._intact[iteration] = True
        return self._intact[iteration]

    def newest(self) -> Checkpoint | None:
        """The newest intact checkpoint; damaged ones are skipped with a warning.

        Raises UnreadableError if one cannot be read now: resuming from an older one would remove it.
        """
        for iteration in reversed(self._run.checkpoints()):
            try:
                return Checkpoint.read(self._run.checkpoint(iteration), self._largest)
            except UnreadableError as error:
                raise UnreadableError(
                    f"{error}: try again, or resume from another checkpoint in {self.folder}"
                ) from None
            except UserError as error:
                log.warning(f"checkpoint {iteration:08d} is not used: {error}")
        return None

    def remove_after(self, iteration: int) -> None:
        """Remove the checkpoints after `iteration`."""
        for later in self._run.checkpoints():
            if later > iteration:
                self._remove(later)


def _delete(path: Path) -> None:
    """Remove a folder with its contents, or whatever else has its name: rmtree would block on a pipe."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        files.write_flushed(target, source.read_bytes())


@contextlib.contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder that is removed at the end unless it was renamed."""
    for left_behind in parent.glob(".new-*"):  # by a process that was killed
        with contextlib.suppress(OSError):
            _delete(left_behind)
    path = parent / f".new-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
