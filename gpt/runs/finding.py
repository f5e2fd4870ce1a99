"""Finding runs: the newest, by stage, or by configuration."""

import contextlib
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from gpt.base.console import command
from gpt.base.errors import RequestError, UserError
from gpt.config.keys import FIXED, completed, declared, flat
from gpt.config.schema import TrainConfig
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary

log = logging.getLogger(__name__)


class FinishedRun(NamedTuple):
    """A run and its results."""

    folder: RunFolder
    summary: Summary


@contextlib.contextmanager
def skipping_damaged() -> Iterator[None]:
    """Turn an error of a damaged run into a warning, and skip the rest of the block."""
    try:
        yield
    except UserError as error:
        log.warning(f"skipped: {error}")


def finished_runs(
    *roots: Path, stages: Collection[str] = (), tags: Collection[str] = (), is_required: bool = True
) -> list[FinishedRun]:
    """All finished runs below these folders, the oldest first; a damaged one is skipped with a warning.

    If one is required, raises RequestError if no run has all these tags and one of these stages (none: any stage).
    """
    runs = []
    for path in {path for root in roots for path in _folders_with("summary.json", root)}:
        run = RunFolder(path)
        with skipping_damaged():
            summary = run.summary()
            if _is_asked_for(run, summary, stages, tags):
                runs.append(FinishedRun(run, summary))
    if not runs and is_required:
        what = (f" of {' or '.join(stages)}" if stages else "") + (f" tagged {', '.join(tags)}" if tags else "")
        where = ", ".join(map(str, roots))
        started = started_runs(*roots, stages=stages, tags=tags, is_finished=False)
        hint = f"train one with {command('train')} model={next(iter(stages), 'v1')}"
        if started:
            hint = f"{len(started)} started and did not finish; resume={started[0].path} continues the last one"
        raise RequestError(f"no finished run{what} in {where}: {hint}")
    return sorted(runs, key=lambda run: (run.summary.finished, str(run.folder.path)))


def started_runs(
    *roots: Path, stages: Collection[str] = (), tags: Collection[str] = (), is_finished: bool | None = None
) -> list[RunFolder]:
    """The runs below these folders that have started, the most recently started or resumed first.

    `is_finished` selects finished or unfinished runs; None: all. Where stages or tags are asked for, a damaged run is
    skipped with a warning.
    """
    found = []
    for path in {path for root in roots for path in _folders_with("config.yaml", root)}:
        run = RunFolder(path)
        if run.is_started() and is_finished in (None, run.is_finished()):
            with skipping_damaged():
                if not (stages or tags) or _is_asked_for(run, run.config(), stages, tags):
                    found.append(run)
    return sorted(found, key=last_started, reverse=True)


def _is_asked_for(run: RunFolder, facts: Summary | TrainConfig, stages: Collection[str], tags: Collection[str]) -> bool:
    is_of_stage = not stages or facts.stage in stages or any(is_of(run, stage) for stage in stages if "@" in stage)
    return is_of_stage and set(tags) <= set(facts.tags)


def is_of(run: RunFolder, stage: str) -> bool:
    """Whether this is a run of a stage, by its name, or of code of the user's own, by its target."""
    config = run.config()
    return stage == (config.model.target if "@" in stage else config.stage)


def has_same_settings(run: TrainConfig, wanted: TrainConfig, swept: Collection[str] = ()) -> bool:
    """Whether a run has these settings, however long it is; `swept` are further keys that must be equal.

    A key that the run lacks, because it is older than the key, has its default.
    """
    one, other = (flat(completed(config.content())) for config in (run, wanted))
    fixed = {key for key in one | other if declared(key).role in FIXED or {key, key.partition(".")[0]} & {*swept}}
    return all(one.get(key) == other.get(key) for key in fixed)


def _folders_with(name: str, root: Path) -> Iterator[Path]:
    """The folders at or below `root` that contain a file called `name`."""
    for folder, _, names in os.walk(root):
        if name in names:
            yield Path(folder)


def last_started(run: RunFolder) -> tuple[float, str]:
    """A sort key: when the run was last started or resumed, then its path."""
    try:
        commands = run.record().commands
    except UserError:  # The rest of the run may be intact.
        commands = []
    return (commands[-1].started.timestamp() if commands else 0.0, str(run.path))
