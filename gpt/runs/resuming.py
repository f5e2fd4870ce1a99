"""Planning a run: a new one, or which one to go on with, with what configuration and from which checkpoint.

Planning changes nothing on disk; `Plan.opened` does.
"""

import contextlib
import functools
import logging
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt.config import Request, TrainConfig, changes, flat, shown
from gpt.errors import DivergedError, RequestError, UserError
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary, Vocabulary
from gpt.stopping import Stopped

log = logging.getLogger(__name__)

# What may change when a run goes on; the rest identifies the run. A corpus is identified by its content.
_FREE = {
    "training",
    "schedule",
    "optimizer",
    "logger",
    "checkpoint",
    "device",
    "dtype",
    "compile",
    "deterministic",
    "data",
}
# A choice that would make it another run, and the key that says which one was made.
_IDENTIFIED_BY = {"model": "stage", "data": "data._target_", "optimizer": "optimizer._target_"}
_NOT_OF_THE_RUN = {"resume", "runs"}
# What has no influence on the result, or not by intention.
_INCIDENTAL = {"checkpoint", "device", "dtype", "compile", "logger", "runs"}


@dataclass(frozen=True)
class Plan:
    """What to train, and where."""

    config: TrainConfig
    request: Request
    run: RunFolder | None = None  # the one to go on with; None: a new one
    checkpoint: Checkpoint | None = None  # None: from the beginning
    changed: list[str] = field(default_factory=list)  # as key=value, from what the run had before

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary of the run to go on with."""
        return self.run.vocabulary() if self.run is not None else None

    @property
    def finished(self) -> Summary | None:
        """The summary of the run to go on with, if it has finished and nothing beyond its last iteration is wanted."""
        if self.run is None or not self.run.is_finished():
            return None
        summary = self.run.summary()
        return summary if summary.iterations == self.config.training.max_iters else None

    def check(self, corpus_digest: str) -> None:
        """Raises RequestError if the run cannot go on with this corpus and this many iterations."""
        if self.run is not None and self.run.vocabulary().corpus != corpus_digest:
            raise RequestError(f"the corpus is not the one that {self.run.path} was begun with")
        if self.checkpoint is not None and self.checkpoint.progress.iteration > self.config.training.max_iters:
            raise RequestError(f"training.max_iters={self.config.training.max_iters} is before {self.checkpoint.path}")

    @contextlib.contextmanager
    def opened(self, vocabulary: Vocabulary) -> Iterator[RunFolder]:
        """The run folder, made or brought back to the checkpoint; from here on, files change."""
        if self.run is None:
            is_given, place = self.request.is_place_given, self.request.place
            run = RunFolder.claim(place) if is_given else RunFolder.create(place)
            with run.locked(), run.logging():
                run.write_config(self.config)
                run.write_vocabulary(vocabulary)
                yield run
            return
        run, iteration = self.run, self.checkpoint.progress.iteration if self.checkpoint else 0
        with run.logging():
            run.reopen()
            run.write_config(self.config)
            Checkpoints(run, self.config.checkpoint.keep).forget_after(iteration)
            if self.checkpoint is not None:
                self.checkpoint.restore_best(run.weights("best"))
            log.info(f"going on with {run.path} from iteration {iteration}")
            if self.changed:
                log.info(f"changed for the rest of the run: {', '.join(self.changed)}")
            yield run


@contextlib.contextmanager
def planned(config: TrainConfig, request: Request) -> Iterator[Plan]:
    """The plan for a request; a run that goes on is locked until the end.

    Raises RequestError for a change that would make it another run, UserError for what is damaged.
    """
    run = _run_to_go_on_with(config, request)
    if run is None:
        yield Plan(config, request)
        return
    with run.locked():
        is_auto = config.resume == "auto"
        merged, changed = _merged(run.config(), config, _all_keys(config) if is_auto else request.given)
        named = None if is_auto else Path(str(config.resume))
        if named is not None and _is_checkpoint(named):
            checkpoint: Checkpoint | None = Checkpoint.read(named)
        else:
            checkpoint = Checkpoints(run, merged.checkpoint.keep).newest()
        yield Plan(merged, request, run, checkpoint, changed)


@contextlib.contextmanager
def explaining_how_to_go_on(run: RunFolder, is_saved: Callable[[], bool]) -> Iterator[None]:
    """Add to an error of the training what the user can do next; `is_saved` tells whether its last step is saved."""
    try:
        yield
    except Stopped as stopped:
        unsaved = "" if is_saved() else ", which could not be saved"
        raise Stopped(stopped.number, f"{stopped}{unsaved}; go on with: python train.py resume={run.path}") from None
    except DivergedError as error:
        checkpoints = Checkpoints(run, keep=1)
        newest = checkpoints.names()[-1:]
        again = f"go on with resume={checkpoints.folder / newest[0]}" if newest else "try again"
        raise UserError(f"{error}: {again} with a smaller training.learning_rate or training.grad_clip=1.0") from None


def _run_to_go_on_with(config: TrainConfig, request: Request) -> RunFolder | None:
    if config.resume is None:
        return None
    if config.resume != "auto":
        return _run_of(Path(config.resume))
    if request.is_place_given:
        run = RunFolder(request.place)
        return run if run.is_begun() else None
    return _unfinished_like(config, Path(config.runs))


def _run_of(path: Path) -> RunFolder:
    """The run whose folder, or one of whose checkpoints, `path` is. Raises RequestError if it is neither."""
    folder = path.parent.parent if _is_checkpoint(path) else path
    if not path.is_dir():
        raise RequestError(f"resume={path}: there is no such folder")
    if not (folder / "config.yaml").exists():
        raise RequestError(f"resume={path}: that is neither the folder of a run nor a checkpoint of one")
    return RunFolder(folder)


def _is_checkpoint(path: Path) -> bool:
    return path.parent.name == "checkpoints" and not (path / "config.yaml").exists()


def _unfinished_like(config: TrainConfig, root: Path) -> RunFolder | None:
    """The newest run below `root` that was begun with this configuration and has not finished."""
    wanted = _identity(config)
    for path in sorted(root.rglob("config.yaml"), reverse=True):
        run = RunFolder(path.parent)
        try:
            if run.is_begun() and not run.is_finished() and _identity(run.config()) == wanted:
                return run
        except UserError as error:
            log.warning(f"skipped: {error}")
    return None


def _all_keys(config: TrainConfig) -> list[str]:
    """Every key of a configuration; a choice that may change as a whole is one key."""
    whole = {"schedule", "logger"}
    return [*_IDENTIFIED_BY, *whole, *flat({key: v for key, v in config.content().items() if key not in whole})]


def _merged(kept: TrainConfig, asked: TrainConfig, given: Iterable[str]) -> tuple[TrainConfig, list[str]]:
    """The configuration of a run with the `given` keys of what is asked for, and what that changes."""
    old, new = kept.content(), asked.content()
    changed = []
    for key in given:
        if key in _NOT_OF_THE_RUN:
            continue
        if key == "experiment":
            raise RequestError("an experiment is for new runs: to go on with one, give the values that should change")
        identity = _IDENTIFIED_BY.get(key, key)
        before, after = _at(old, identity), _at(new, identity)
        if before != after and (key in _IDENTIFIED_BY or key.partition(".")[0] not in _FREE):
            was, wanted = shown(identity, before), shown(identity, after)
            raise RequestError(f"a run with {was} cannot go on with {wanted}: start a new run for that")
        if key in ("model", "data"):
            continue  # compared already; the values of the data that are free are given one by one
        before, after = _at(old, key), _at(new, key)
        *groups, name = key.split(".")
        functools.reduce(operator.getitem, groups, old)[name] = after
        changed += changes({key: before}, {key: after})
    return TrainConfig.model_validate(old), changed


def _at(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _identity(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in config.content().items() if key not in _INCIDENTAL}
