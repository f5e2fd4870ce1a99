"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import contextlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.config.command import Command
from gpt.config.schema import TrainConfig

if TYPE_CHECKING:
    from gpt.runs.folder import RunFolder
    from gpt.runs.records import Summary
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: TrainConfig, command: Command, more_watchers: "Sequence[Watcher]" = ()) -> float:
    """Train a stage, or resume a run; write the run folder, and return `Loss.common` of the exact validation loss.

    `more_watchers` are the watchers of a calling program such as search.py.
    """
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.console import reports_hidden
    from gpt.base.runtime import keep_freed_memory, select_device
    from gpt.session.running import run
    from gpt.training.processes import World

    is_quiet = config.quiet or config.as_json
    with reports_hidden() if is_quiet else contextlib.nullcontext(), World.joined(config.device) as world:
        keep_freed_memory(select_device(config.device))
        outcome = run(config, command, world, more=more_watchers, is_quiet=is_quiet)
    assert outcome.summary is not None  # a stopped training raises Stopped
    if is_quiet and world.is_first:
        _print(outcome.summary, outcome.folder, as_json=config.as_json, indent=None if command.job else 2)
    return outcome.summary.exact.common


def _print(summary: "Summary", folder: "RunFolder | None", *, as_json: bool, indent: int | None) -> None:
    """Print only the results, as JSON or as the last lines of the log."""
    from gpt.base.errors import printable
    from gpt.reports.run import closing_lines

    if as_json:
        named = {} if folder is None else {"folder": str(folder.path)}
        print(json.dumps(named | summary.model_dump(mode="json"), indent=indent))
    elif folder is not None:
        print(*map(printable, closing_lines(summary, folder)), sep="\n")


def after_sweep(folder: Path) -> None:
    """Compare the runs of a sweep that has ended."""
    from gpt.config.command_schemas import CompareConfig
    from gpt.reports.comparison import print_comparison

    print_comparison(folder, CompareConfig())
