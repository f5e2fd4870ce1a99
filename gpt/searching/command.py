"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

import logging
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.command_schemas import StudyConfig
from gpt.base.console import reports_hidden
from gpt.base.errors import RequestError, requiring
from gpt.base.files import attempt
from gpt.base.keys import declared
from gpt.base.request import Request
from gpt.base.stopping import Stopped
from gpt.cli.ranges import Base, divided
from gpt.cli.requesting import of_overrides
from gpt.runs.folder import RunFolder
from gpt.session import train

if TYPE_CHECKING:
    from optuna.trial import Trial

    from gpt.searching.study import Search
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: StudyConfig, request: Request) -> None:
    """Run trials until the study has n_trials of them; each is a run of train.py, or one for each seed."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RequestError("torchrun is for train.py: to search with several processes, start search.py several times")
    with requiring("search"):  # and imported here, so that --help and tab completion do not pay for it
        from gpt.searching import report
        from gpt.searching.space import distribution
        from gpt.searching.study import Goal, Search

    base = divided(request.rest)
    folder = Path(config.study or Path(base.config.runs, base.name))
    space = {key: distribution(key, found) for key, found in base.ranges.items()}
    prune = config.prune
    if prune and (other := [key for key in space if declared(key.partition(".")[0]).changes_targets]):
        log.info(f"no trial is pruned: with another {other[0]}, estimated losses per token cannot be compared")
        prune = False
    goal = Goal.of(config.metric, base.config, base.seeds)
    search = Search(folder, space, base.config.content(), seed=config.sampling_seed, prune=prune, goal=goal)
    begun = time.monotonic()
    for trial in search.trials(config.n_trials):
        _try(search, trial, base, request)
        values = [f"{key.rpartition('.')[2]}={value}" for key, value in trial.params.items()]
        log.info(f"{trial.number + 1}/{config.n_trials}  {' '.join(values)}  {search.result(trial.number)}")
        attempt("the picture", lambda: report.draw(search.study, search.picture, search.goal), (Exception,))
        if config.minutes is not None and time.monotonic() - begun > 60 * config.minutes:
            log.info(f"{config.minutes:g} minutes are over; repeat the command to continue")
            break
    search.check_comparable()  # workers may have finished trials at the same time
    report.conclude(search, base, request)


def _try(search: "Search", trial: "Trial", base: Base, request: Request) -> None:
    """Run a trial, whose reports are in its own log."""
    values = [f"{key}={value}" for key, value in trial.params.items()]
    overrides = [*base.overrides, *values, "resume=auto"]
    try:
        with reports_hidden():
            search.run(trial, partial(_train, overrides, request, search, trial.number))
    except Stopped as stopped:
        raise Stopped(stopped.number, f"stopped in trial {trial.number}; repeat the command to continue") from None


def _train(overrides: list[str], request: Request, search: "Search", number: int, watcher: "Watcher") -> float:
    """Do what `python train.py OVERRIDES` does, for each seed, and return the mean of what is searched for.

    The watcher is for the first of them. Raises UserError as `check_comparable` does, DivergedError as `Goal.of_run`.
    """
    values, watchers = [], [watcher]
    for folder, own in search.runs(number).items():
        train.main(*of_overrides([*overrides, *own, f"hydra.run.dir={folder}"], request.options), watchers)
        search.check_comparable(number)
        values.append(search.goal.of_run(RunFolder(folder).summary()))
        watchers = []
    return statistics.fmean(values)
