"""The commands that manage runs: `python -m gpt runs` lists them; tag and name label them."""

import json
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from gpt.base.console import command
from gpt.base.durations import seconds_of
from gpt.base.errors import RequestError, printable
from gpt.config.command import Command
from gpt.config.command_schemas import NameConfig, RunsConfig, TagConfig
from gpt.config.values import as_typed
from gpt.reports.listing import Line, by_loss, table
from gpt.runs.finding import skipping_damaged, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.naming import resolve_run, run_dirs
from gpt.runs.records import now


def runs(config: RunsConfig, _: Command) -> None:
    """List the runs, the newest or the lowest loss first."""
    lines = by_loss(_lines(config)) if config.sort == "loss" else _lines(config)
    if config.as_json:
        print(json.dumps([line.as_record() for line in lines], indent=2))
    elif lines:
        print(table(lines))
    else:
        asked = [f"{key}={as_typed(value)}" for key in ("stage", "tags", "since") if (value := getattr(config, key))]
        others = asked and started_runs(*run_dirs(config.runs))
        hint = f"{len(others)} others are there" if others else f"train one with {command('train')} model=v5"
        print(printable(f"no run{' with ' if asked else ''}{' '.join(asked)} in {config.runs}: {hint}"))


def tag(config: TagConfig, _: Command) -> None:
    """Give tags to runs; a tag with a minus sign is taken away."""
    taken = {tag.removeprefix("-") for tag in config.tags if tag.startswith("-")}
    if not (runs := _started(config.runs)):
        raise RequestError(f"there is no run in {config.runs}")
    for run in runs:
        tags = dict.fromkeys([*run.config().tags, *(tag for tag in config.tags if not tag.startswith("-"))])
        _label(run, tags=[tag for tag in tags if tag not in taken])


def name(config: NameConfig, _: Command) -> None:
    """Give a run another name; its folder stays where it is."""
    _label(RunFolder(resolve_run(config.run)), name=config.name)


def _lines(config: RunsConfig) -> list[Line]:
    """The selected runs, the newest first."""
    oldest = None if config.since is None else now() - timedelta(seconds=seconds_of(config.since))
    lines = []
    for run in _started(config.runs, config.stage, config.tags):
        with skipping_damaged():
            if (line := Line.of(run)) and (oldest is None or line.when >= oldest):
                lines.append(line)
    return sorted(lines, key=lambda line: line.when, reverse=True)


def _started(runs: str, stages: Collection[str] = (), tags: Collection[str] = ()) -> list[RunFolder]:
    """The started runs with these stages and tags. Raises RequestError if a folder is missing."""
    for folder in (folders := run_dirs(runs)):
        if not folder.is_dir():
            raise RequestError(f"there is no folder {folder}")
    return started_runs(*folders, stages=stages, tags=tags)


def _label(run: RunFolder, **changed: Any) -> None:
    with run.locked():
        run.update(**changed)
        labels = run.record()
    print(printable(f"{run.path}: name {labels.name or '-'}, tags {', '.join(labels.tags) or '-'}"))
