"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

import logging
import os
import shlex
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpt.base.console import command as called
from gpt.base.console import reports_hidden
from gpt.base.errors import RequestError, require_extra
from gpt.base.files import try_write, write_atomically
from gpt.base.losses import nats_per
from gpt.base.pictures import picture
from gpt.base.stopping import Stopped
from gpt.config.command import Command, command_line
from gpt.config.command_schemas import StudyConfig
from gpt.config.values import Typed

if TYPE_CHECKING:
    from gpt.searching.study import Search

log = logging.getLogger("gpt")


def main(config: StudyConfig, command: Command) -> None:
    """Run trials until the study has n_trials of them, and report the best one; each is a run of train.py."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RequestError(f"torchrun is for one run: for several processes, start {called('search')} in each")
    with require_extra("search"):  # and imported here, so that --help and tab completion do not pay for it
        from gpt.config.ranges import split_ranges
        from gpt.searching.study import Search

    base, begun = split_ranges(command), time.monotonic()
    search = Search(base, config)
    for trial in search.trials(config.n_trials):
        drawn = _drawn_settings(trial.params)
        try:
            with reports_hidden():
                own = base.command.replacing(drawn)
                ended = search.train(trial, replace(own, line=command_line("train", [*own.same_place, *own.words()])))
        except Stopped as stopped:
            again = f"stopped in trial {trial.number}; repeat the command to continue"
            raise Stopped(stopped.number, again) from None
        result = f"{ended.value:.4f}" if ended.state.name == "COMPLETE" else ended.state.name.lower()
        log.info(f"{trial.number + 1}/{config.n_trials}  {' '.join(Command('train', drawn).words())}  {result}")
        if config.minutes is not None and time.monotonic() - begun > 60 * config.minutes:
            log.info(f"{config.minutes:g} minutes are over; repeat the command to continue")
            break
    _conclude(search, base.command)


def _drawn_settings(params: Mapping[str, Any]) -> dict[str, Typed]:
    """Drawn hyperparameters as settings; four digits are enough for any of them."""
    return {key: Typed(f"{value:.4g}" if isinstance(value, float) else value) for key, value in params.items()}


def _conclude(search: "Search", base: Command) -> None:
    """Print the best trial and the next command. Raises RequestError if no trial is complete."""
    states = [trial.state.name.lower() for trial in search.study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    log.info(f"trials: {counts}, in {search.folder}")
    if "complete" not in states:
        raise RequestError("no trial is complete: raise n_trials, or turn pruning off with prune=false")
    # The user's settings for Matplotlib can raise any error.
    try_write("the picture", lambda: _draw(search), (Exception,))
    best = search.study.best_trial
    run = search.run(best.number)
    measure = search.metric or f"exact validation loss in {nats_per(run.summary().exact.unit)}"
    log.info(f"best: {run.path.name}, {measure}: {best.value:.4f}")
    log.info(f"use it: {called('generate')} run={shlex.quote(str(run.path))}")
    log.info("train it again, longer with training.max_iters=N:")
    again = base.replacing(_drawn_settings(best.params))
    print(command_line("train", [*again.same_place, *again.words()]))


def _draw(search: "Search") -> None:
    """Draw the results against the values of each hyperparameter."""
    from matplotlib import pyplot, rc_context
    from optuna.visualization.matplotlib import plot_slice

    with warnings.catch_warnings(action="ignore"), rc_context():  # They are experimental, and change all styles.
        plot_slice(search.study, target_name=search.metric or "exact validation loss (nats)")
        write_atomically(search.folder / "search.png", picture(pyplot.gcf()))
    log.info(f"picture: {search.folder / 'search.png'}")
