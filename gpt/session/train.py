"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.request import Request
from gpt.base.schema import TrainConfig

if TYPE_CHECKING:
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: TrainConfig, request: Request, more_watchers: "Sequence[Watcher]" = ()) -> float:
    """Train a stage, or resume a run; write the run folder and return the exact validation loss, as `Exact.comparable`.

    `more_watchers` are the watchers of a calling program such as search.py.
    """
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.runtime import keep_freed_memory, select_device
    from gpt.base.stopping import Stop
    from gpt.session.run import run
    from gpt.session.start import starting
    from gpt.training.processes import World

    with (
        Stop().listening() as stop,
        World.joined(config.device) as world,
        starting(config, request, stop, world) as start,
    ):
        if start.finished is None:
            keep_freed_memory(select_device(start.config.device))
        return run(start, stop, world, more=more_watchers).summary.exact.comparable


def after_sweep(folder: Path) -> None:
    """Compare the runs of a sweep that has ended."""
    from gpt.reports.comparison import print_comparison

    print_comparison(folder)
