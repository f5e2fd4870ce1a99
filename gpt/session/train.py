"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt import cli
from gpt.base.request import Request
from gpt.base.schema import TrainConfig

if TYPE_CHECKING:
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: TrainConfig, request: Request, more_watchers: "Sequence[Watcher]" = ()) -> float:
    """Train a stage, or resume a run; write the run folder and return the exact validation loss.

    `more_watchers` are the watchers of a calling program such as search.py.
    """
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.stopping import Stop
    from gpt.session.job import Job
    from gpt.session.planning import planned
    from gpt.session.recorder import recorder_of
    from gpt.training.loop import train
    from gpt.training.processes import World

    with (
        Stop().listening() as stop,
        World.joined(config.device) as world,
        planned(config, request, stop, world) as plan,
    ):
        if plan.finished is not None:
            return plan.finished.exact.val
        recorder = recorder_of(plan, more_watchers)
        job = Job.of(plan, request.given, world)
        state = job.begun(plan)
        with recorder.opened(job, state):
            train(state, job.recipe, recorder.watchers, stop)
            exact = job.exact_loss()
            recorder.report(job, state, exact, stop)
        return exact.loss


def command() -> None:
    """`python train.py` and `gpt-train`."""
    cli.main(main, TrainConfig, "train", after_sweep=_compare)


def _compare(folder: Path) -> None:
    from gpt.reports.sweep import print_comparison

    print_comparison(folder)
