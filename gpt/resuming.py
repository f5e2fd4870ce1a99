"""Going on with a run: which one, with what configuration, and from which checkpoint."""

import functools
import logging
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.checkpoint import Checkpoint, Checkpoints
from gpt.config import TrainConfig, flat
from gpt.errors import RequestError
from gpt.runs import RunFolder

log = logging.getLogger(__name__)

# What may differ when a run goes on. The rest says which run it is.
_FREE = ("training", "checkpoint", "device", "dtype", "compile", "deterministic", "data.dir", "data.path")
_NOT_OF_THE_RUN = ("resume", "runs")


@dataclass(frozen=True)
class Resumed:
    """How a run that was begun goes on."""

    config: TrainConfig
    changed: list[str]  # as key=value
    checkpoint: Checkpoint | None  # None: from the beginning


def resume(path: Path, asked: TrainConfig, given: list[str] | None) -> Resumed:
    """The run in the folder `path`, or that of the checkpoint `path`, with what the command line asks for.

    `given` are the keys of the command line, `asked` the configuration with their values; None means that all of
    `asked` is meant. Raises RequestError for a change that makes it another run, UserError for what is damaged.
    """
    run, is_checkpoint = run_of(path), path.parent.name == "checkpoints"
    config, changed = _merged(run.config(), asked, given)
    checkpoints = Checkpoints(run.path / "checkpoints", config.checkpoint.keep)
    if not is_checkpoint:
        return Resumed(config, changed, checkpoints.newest())
    checkpoint = Checkpoint.read(path)
    checkpoints.forget_after(checkpoint.progress.iteration)
    return Resumed(config, changed, checkpoint)


def run_of(path: Path) -> RunFolder:
    """The run whose folder, or one of whose checkpoints, `path` is. Raises RequestError if it is neither."""
    folder = path.parent.parent if path.parent.name == "checkpoints" else path
    if not path.is_dir():
        raise RequestError(f"resume={path}: there is no such folder")
    if not (folder / "config.yaml").exists():
        raise RequestError(f"resume={path}: that is neither the folder of a run nor a checkpoint of one")
    return RunFolder(folder)


def unfinished_like(asked: TrainConfig, root: Path) -> RunFolder | None:
    """The newest run below `root` that was begun with this configuration and is not finished."""
    wanted = _identity(asked)
    for path in sorted(root.rglob("config.yaml"), reverse=True):
        run = RunFolder(path.parent)
        if run.is_begun() and not run.is_finished() and _identity(run.config()) == wanted:
            return run
    return None


def _merged(kept: TrainConfig, asked: TrainConfig, given: list[str] | None) -> tuple[TrainConfig, list[str]]:
    old, new = _content(kept), _content(asked)
    changed = []
    for key in flat(new) if given is None else given:
        if key in _NOT_OF_THE_RUN:
            continue
        if key == "experiment":
            raise RequestError("an experiment is for new runs: to go on with one, give the values that should change")
        key = {"model": "stage", "data": "data.name"}.get(key, key)
        before, after = _get(old, key), _get(new, key)
        if before == after:
            continue
        if not any(key == free or key.startswith(f"{free}.") for free in _FREE):
            raise RequestError(f"a run with {key}={before} cannot go on with {key}={after}: start a new run for that")
        *groups, name = key.split(".")
        functools.reduce(operator.getitem, groups, old)[name] = after
        changed.append(f"{key}={after}")
    return TrainConfig.model_validate(old), changed


def _identity(config: TrainConfig) -> dict:
    """The configuration without what has no influence on the result."""
    ignored = {"checkpoint", "device", "dtype", "compile", "resume", "runs"}
    return {key: value for key, value in _content(config).items() if key not in ignored}


def _content(config: TrainConfig) -> dict:
    return config.model_dump(by_alias=True, exclude_unset=True)


def _get(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content
