"""Checkpoints: everything needed to resume a run bit-identically.

    checkpoints/00001500/state.safetensors    weights, optimizer moments, random states
                         best.safetensors     the run's best weights so far
                         checkpoint.json      the progress, and the checksums of both files

A checkpoint is written under a temporary name, flushed to disk, renamed, and read back before an older one is removed.
Its checksums are verified before memory is allocated for its tensors.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors
from safetensors import torch as safetensors_torch
from torch import Tensor

from gpt.errors import UserError
from gpt.files import flush_folder, read_text_file, seal, sha256, write_flushed
from gpt.runs.folder import RunFolder
from gpt.runs.records import Progress, Record, parse_record

log = logging.getLogger(__name__)

_STATE, _BEST, _RECORD = "state.safetensors", "best.safetensors", "checkpoint.json"


class _Contents(Record):
    progress: Progress
    sha256: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose checksums have been verified."""

    path: Path
    progress: Progress

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """The checkpoint in the folder `path`. Raises UserError if any of it is missing or damaged."""
        source = path / _RECORD
        record = parse_record(source, read_text_file(source), _Contents)
        for name, digest in record.sha256.items():
            file = path / name
            if name not in (_STATE, _BEST):
                raise UserError(f"{source} is damaged: it names {name!r}")
            if not file.is_file():
                raise UserError(f"{file} is missing")
            if sha256(file) != digest:
                raise UserError(f"{file} is damaged: its checksum does not match")
        return cls(path, record.progress)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the training state, on the CPU."""
        try:
            return safetensors_torch.load_file(self.path / _STATE)
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{self.path / _STATE} cannot be read: {error}") from None

    def restore_best(self, target: Path) -> None:
        """Restore the best weights as of this checkpoint to `target`."""
        if self.progress.best is None:
            target.unlink(missing_ok=True)
        else:
            with _temporary_folder(target.parent) as folder:
                _link(self.path / _BEST, folder / _BEST)
                (folder / _BEST).replace(target)


class Checkpoints:
    """The newest `keep` checkpoints of a run."""

    def __init__(self, run: RunFolder, keep: int) -> None:
        self.folder = run.path / "checkpoints"
        self._best = run.weights("best")
        self._keep = keep

    def save(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        """Add a checkpoint, with a copy of the run's best weights if it has any."""
        path = self.folder / f"{progress.iteration:08d}"
        self.folder.mkdir(exist_ok=True)
        with _temporary_folder(self.folder) as new:
            # The best weights are only ever replaced, never changed, so a hard link is as good as a copy.
            if progress.best is not None:
                _link(self._best, new / _BEST)
            content = safetensors_torch.save(tensors)
            write_flushed(new / _STATE, content)
            # Computed from memory: a checksum of the written file would also match what the disk got wrong.
            digests = {_STATE: hashlib.sha256(content).hexdigest()}
            if progress.best is not None:
                digests[_BEST] = sha256(new / _BEST)
            record = _Contents(progress=progress, sha256=digests).model_dump(mode="json")
            write_flushed(new / _RECORD, seal(record, indent=2).encode())
            flush_folder(new)
            if path.exists():  # damaged, or of the same iteration
                shutil.rmtree(path)
            new.rename(path)
        flush_folder(self.folder)
        Checkpoint.read(path)
        for old in self.names()[: -self._keep]:
            shutil.rmtree(self.folder / old)

    def newest(self) -> Checkpoint | None:
        """The newest intact checkpoint; damaged ones are skipped with a warning."""
        names = self.names()
        for name in reversed(names):
            try:
                return Checkpoint.read(self.folder / name)
            except UserError as error:
                log.warning(f"checkpoint {name} is not used: {error}")
        if names:
            log.warning("no checkpoint is intact, so the run starts from the beginning")
        return None

    def remove_after(self, iteration: int) -> None:
        """Remove the checkpoints after `iteration`."""
        for name in self.names():
            if int(name) > iteration:
                shutil.rmtree(self.folder / name)

    def names(self) -> list[str]:
        """The names of the checkpoints, intact or damaged, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.name.isdecimal() and path.is_dir())


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


@contextlib.contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """A new folder that is removed at the end, unless it was renamed."""
    for left_behind in parent.glob(".new-*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    path = parent / f".new-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
