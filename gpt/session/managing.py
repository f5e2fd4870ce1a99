"""Runs as things: `python -m gpt runs` lists them; tag and name label them, rm and clean remove them."""

import json
import logging
import sys
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from gpt.base.command_schemas import CleanConfig, NameConfig, RunsConfig, TagConfig
from gpt.base.console import command
from gpt.base.durations import seconds_of
from gpt.base.errors import RequestError, UserError, printable
from gpt.base.request import Request
from gpt.base.typed import as_typed
from gpt.reports.listing import Line, by_loss, table
from gpt.runs.finding import roots, skipping_damaged, started_runs
from gpt.runs.folder import RunFolder, RunState
from gpt.runs.records import now
from gpt.runs.removing import remove

log = logging.getLogger(__name__)


def runs(config: RunsConfig, _: Request) -> None:
    """List the runs, the newest or the lowest loss first."""
    lines = by_loss(_lines(config)) if config.sort == "loss" else _lines(config)
    if config.as_json:
        print(json.dumps([line.as_record() for line in lines], indent=2))
    elif lines:
        print(table(lines))
    else:
        asked = [f"{key}={as_typed(value)}" for key in ("stage", "tags", "since") if (value := getattr(config, key))]
        others = asked and started_runs(*roots(config.runs))
        hint = f"{len(others)} others are there" if others else f"train one with {command('train')} model=v5"
        print(printable(f"no run{' with ' if asked else ''}{' '.join(asked)} in {config.runs}: {hint}"))


def tag(config: TagConfig, _: Request) -> None:
    """Give tags to runs, and take those that have a minus sign."""
    taken = {tag.removeprefix("-") for tag in config.tags if tag.startswith("-")}
    if not (runs := _started(config.runs)):
        raise RequestError(f"there is no run in {config.runs}")
    for run in runs:
        tags = dict.fromkeys([*run.config().tags, *(tag for tag in config.tags if not tag.startswith("-"))])
        _label(run, tags=[tag for tag in tags if tag not in taken])


def name(config: NameConfig, _: Request) -> None:
    """Give a run another name; its folder stays where it is."""
    _label(RunFolder(Path(config.run)), name=config.name)


def rm(config: CleanConfig, _: Request) -> None:
    """List these runs, finished or not, ask, and remove them."""
    _remove(_lines(config), config)


def clean(config: CleanConfig, _: Request) -> None:
    """List the runs that ended without finishing, ask, and remove them; those that were paused are to go on."""
    lines = _lines(config)
    if paused := [line for line in lines if line.state.name == "paused"]:
        print(f"paused, and kept: {len(paused)} ({command('rm')} removes runs by name)")
    _remove([line for line in lines if line.state.name not in ("finished", "training", "paused")], config)


def _remove(lines: list[Line], config: CleanConfig) -> None:
    """List the runs, ask, and remove those whose state is still the same."""
    if not lines:
        print(printable(f"nothing to remove in {config.runs}"))
        return
    print(table(lines))
    if not config.yes:
        if not sys.stdin.isatty():
            raise RequestError("nothing was removed: add yes=true to remove these runs")
        print(f"\nremove these {len(lines)} runs for good? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return
    removed = 0
    for line in lines:
        try:
            with line.run.locked():
                if (state := RunState.of(line.run)) != line.state:
                    raise UserError(f"it is {state} now")
                kept = remove(line.run)
            removed += 1
            if kept:
                print(printable(f"{line.run.path} keeps what no run wrote: {', '.join(kept)}"))
        except UserError as error:  # among them that it trains again
            log.warning(f"{line.run.path} was not removed: {error}")
    print(f"removed {removed}")


def _lines(config: RunsConfig | CleanConfig) -> list[Line]:
    """The runs that are asked for, the newest first."""
    oldest = None if config.since is None else now() - timedelta(seconds=seconds_of(config.since))
    lines = []
    for run in _started(config.runs, config.stage, config.tags):
        with skipping_damaged():
            if (line := Line.of(run)) and (oldest is None or line.when >= oldest):
                lines.append(line)
    return sorted(lines, key=lambda line: line.when, reverse=True)


def _started(runs: str, stages: Collection[str] = (), tags: Collection[str] = ()) -> list[RunFolder]:
    """The runs that are asked for. Raises RequestError if a folder is missing."""
    for folder in (folders := roots(runs)):
        if not folder.is_dir():
            raise RequestError(f"there is no folder {folder}")
    return started_runs(*folders, stages=stages, tags=tags)


def _label(run: RunFolder, **changed: Any) -> None:
    try:
        with run.locked():
            run.update(**changed)
            labels = run.record()
    except OSError as error:
        raise UserError(f"{run.path}: {error.strerror}") from None
    print(printable(f"{run.path}: name {labels.name or '-'}, tags {', '.join(labels.tags) or '-'}"))
