"""Checkpoints: everything needed to resume a run bit-identically.

    checkpoints/00001500/state.safetensors    weights, optimizer moments, random states
                         best.safetensors     the run's best weights so far
                         checkpoint.json      the state apart from its tensors

A checkpoint is written under a temporary name, flushed to disk and renamed before older ones are removed.
"""

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gpt.base import files
from gpt.base.errors import UserError
from gpt.base.record import Record
from gpt.runs import tensors as saved
from gpt.runs.folder import RunFolder
from gpt.runs.formats import to_json
from gpt.runs.records import read_record
from gpt.training.state import State

log = logging.getLogger(__name__)

_STATE, _BEST, _RECORD = "state.safetensors", "best.safetensors", "checkpoint.json"
_MAY_BE_NAN = "last_batch"  # the loss of the last mini-batch; it is only displayed


class _Contents(Record):
    state: State


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk."""

    path: Path
    state: State

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """The checkpoint in the folder `path`. Raises UserError if any of it is missing or damaged."""
        state = read_record(path / _RECORD, _Contents).state
        for name, iteration in ((_STATE, state.iteration), (_BEST, state.best_iteration)):
            if iteration is not None and saved.iteration_of(path / name) != iteration:
                raise UserError(f"{path / name} is damaged: it belongs to another checkpoint")
        return cls(path, state)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the training state, on the CPU."""
        return saved.read(self.path / _STATE, may_be_nan=_MAY_BE_NAN)

    def restore_best(self, target: Path) -> None:
        """Restore the best weights as of this checkpoint to `target`."""
        if self.state.best is None:
            target.unlink(missing_ok=True)
            return
        files.write_atomically(target, (self.path / _BEST).read_bytes())


class Checkpoints:
    """The newest `keep` checkpoints of a run."""

    def __init__(self, run: RunFolder, keep: int) -> None:
        self._run, self.folder = run, run.path / "checkpoints"
        self._best = run.weights("best")
        self._keep = keep

    def save(self, state: State, tensors: dict[str, Tensor]) -> None:
        """Add a checkpoint, with a copy of the run's best weights if it has any, and remove what is not kept.

        Raises UserError for NaN or Inf, because no run could resume from them.
        """
        if name := saved.nonfinite({name: tensor for name, tensor in tensors.items() if name != _MAY_BE_NAN}):
            raise UserError(f"{name} contains NaN or Inf: try a smaller training.learning_rate")
        self._add(state, tensors)
        for iteration in self._run.checkpoints()[: -self._keep]:
            self._remove(iteration)

    def _add(self, state: State, tensors: dict[str, Tensor]) -> None:
        path = self._run.checkpoint(state.iteration)
        self.folder.mkdir(exist_ok=True)
        with _temporary_folder(self.folder) as new:
            # The best weights are replaced but never changed in place, so a hard link is as good as a copy.
            if state.best is not None:
                _link(self._best, new / _BEST)
            files.write_flushed(new / _STATE, saved.of_run(tensors, state.iteration))
            files.write_flushed(new / _RECORD, to_json({"state": state.model_dump(mode="json")}).encode())
            files.flush_folder(new)
            if path.exists():  # damaged, or from before the run was resumed
                self._remove(state.iteration)
            new.rename(path)
        files.flush_folder(self.folder)

    def _remove(self, iteration: int) -> None:
        shutil.rmtree(self._run.checkpoint(iteration))

    def newest(self) -> Checkpoint | None:
        """The newest intact checkpoint; others are skipped with a warning."""
        for iteration in reversed(self._run.checkpoints()):
            try:
                return Checkpoint.read(self._run.checkpoint(iteration))
            except UserError as error:
                log.warning(f"checkpoint {iteration:08d} is not used: {error}")
        return None

    def remove_after(self, iteration: int) -> None:
        """Remove the checkpoints after `iteration`."""
        for later in self._run.checkpoints():
            if later > iteration:
                self._remove(later)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        files.write_flushed(target, source.read_bytes())


@contextlib.contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder that is removed at the end unless it was renamed."""
    for left_behind in parent.glob(".new-*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    path = parent / f".new-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
