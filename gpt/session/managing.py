"""Runs as things: `python -m gpt runs` lists them; tag, untag and name label them, clean removes unfinished ones.

These commands do not train, so they read their few keys themselves, without Hydra.
"""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gpt.base import console
from gpt.base.durations import seconds_of
from gpt.base.errors import RequestError, UserError, printable
from gpt.base.schema import Label, StageName
from gpt.base.typed import expanded, listed
from gpt.reports.listing import Line, by_loss, table
from gpt.runs.finding import roots, skipping_damaged, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Labels, now
from gpt.runs.run_state import RunState

log = logging.getLogger(__name__)

_Listed = BeforeValidator(lambda value: listed(value) if isinstance(value, str) else value)


class _Keys(BaseModel):
    """The keys of `runs` and `clean`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    runs: str = "runs"
    stage: Annotated[list[StageName], _Listed] = []
    tags: Annotated[list[Label], _Listed] = []
    since: str | None = None  # 7d: only runs of the last seven days
    sort: Literal["newest", "loss"] = "newest"
    as_json: Annotated[bool, Field(alias="json")] = False
    yes: bool = False


def runs(words: Sequence[str]) -> None:
    """runs [FOLDER ...] [since=7d] [sort=loss] [stage=v5] [tags=a,b] [json=true]: list the runs, the newest first."""
    keys = _keys(words)
    lines = _lines(keys)
    if keys.as_json:
        print(json.dumps([line.as_record() for line in lines], indent=2))
    elif lines:
        print(table(lines))
    else:
        print(printable(f"no run in {keys.runs}: train one with python train.py model=v5"))


def tag(words: Sequence[str]) -> None:
    """tag RUN ... TAG ...: give tags to runs."""
    folders, tags = _runs_and_labels(words, "tag")
    for run in folders:
        kept = run.config().tags
        _label(run, tags=[*kept, *(tag for tag in tags if tag not in kept)])


def untag(words: Sequence[str]) -> None:
    """untag RUN ... TAG ...: take tags from runs."""
    folders, tags = _runs_and_labels(words, "untag")
    for run in folders:
        _label(run, tags=[tag for tag in run.config().tags if tag not in tags])


def name(words: Sequence[str]) -> None:
    """name RUN NAME: give a run another name; its folder stays where it is."""
    folders, names = _runs_and_labels(words, "name")
    if len(folders) != 1 or len(names) != 1:
        raise RequestError("name takes a run folder and a name, as in python -m gpt name runs/RUN golden")
    _label(folders[0], name=names[0])


def clean(words: Sequence[str]) -> None:
    """clean [FOLDER ...] [since=7d] [stage=v5] [tags=a,b] [yes=true]: remove the runs that have not finished."""
    keys = _keys(words)
    lines = [line for line in _lines(keys) if line.state.name not in ("finished", "training")]
    if not lines:
        print(printable(f"nothing to remove in {keys.runs}"))
        return
    print(table(lines))
    if not keys.yes:
        if not sys.stdin.isatty():
            raise RequestError("nothing was removed: add yes=true to remove these runs")
        if input(f"\nremove these {len(lines)} run folders for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return
    removed = 0
    for line in lines:
        try:
            with line.run.locked():
                if (state := RunState.of(line.run)) != line.state:
                    raise UserError(f"it is {state} now")
                shutil.rmtree(line.run.path)
                removed += 1
        except UserError as error:  # among them that it trains again
            log.warning(f"{line.run.path} was not removed: {error}")
    print(f"removed {removed}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "runs": runs, "tag": tag, "untag": untag, "name": name, "clean": clean,
}  # fmt: skip


def main(command: str, words: Sequence[str]) -> None:
    """Run one of the commands. Raises RequestError for words that it does not take."""
    if {"--help", "-h"} & {*words}:
        print(f"python -m gpt {COMMANDS[command].__doc__}")
        return
    with console.showing_warnings():
        COMMANDS[command](words)


def _keys(words: Sequence[str]) -> _Keys:
    values: dict[str, Any] = {}
    folders = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            folders.append(word)
        else:
            values[key] = yaml.safe_load(value) if key in ("json", "yes") else value
    if folders:
        values["runs"] = ",".join(folders)
    return _Keys.model_validate(values)


def _lines(keys: _Keys) -> list[Line]:
    folders = roots(keys.runs)
    lines: list[Line] = []
    for folder in folders:
        if not folder.is_dir():
            raise RequestError(f"there is no folder {folder}")
    for run in {run.path: run for folder in folders for run in started_runs(folder, is_finished=None)}.values():
        with skipping_damaged():
            line = Line.of(run)
            if (not keys.stage or line.stage in keys.stage) and {*keys.tags} <= {*line.tags}:
                lines.append(line)
    if keys.since is not None:
        oldest = now() - timedelta(seconds=seconds_of(keys.since, "since"))
        lines = [line for line in lines if line.when >= oldest]
    lines.sort(key=lambda line: line.when, reverse=True)
    if keys.sort == "loss":
        return by_loss(lines)
    return lines


def _runs_and_labels(words: Sequence[str], command: str) -> tuple[list[RunFolder], list[str]]:
    """The run folders among the words, and the rest, of which there must be some of each."""
    folders = [RunFolder(Path(expanded(word))) for word in words if (Path(expanded(word)) / "config.yaml").is_file()]
    known = {*map(str, (run.path for run in folders))}
    labels = [word for word in words if expanded(word) not in known]
    if not folders or not labels:
        raise RequestError(f"{command} takes run folders and then words, as in python -m gpt {command} runs/RUN golden")
    return folders, labels


def _label(run: RunFolder, **changed: Any) -> None:
    config = run.config()
    labels = Labels.model_validate({"name": config.name, "tags": config.tags} | changed)
    try:
        with run.locked():
            run.write_labels(labels)
    except OSError as error:
        raise UserError(f"{run.path}: {error.strerror}") from None
    print(printable(f"{run.path}: name {labels.name or '-'}, tags {', '.join(labels.tags) or '-'}"))
