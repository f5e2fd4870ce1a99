"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

import itertools
import logging
import os
import shlex
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.command_schemas import StudyConfig
from gpt.base.request import Request
from gpt.base.schema import TrainConfig
from gpt.session import train

if TYPE_CHECKING:
    from optuna.trial import Trial

    from gpt.base.losses import Loss
    from gpt.cli.ranges import Base
    from gpt.searching.study import Search
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: StudyConfig, request: Request) -> None:
    """Run trials until the study has n_trials of them; each is a run of train.py."""
    from gpt.base.errors import RequestError, requiring
    from gpt.base.files import attempt
    from gpt.base.keys import declared
    from gpt.cli.ranges import divided

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RequestError("torchrun is for train.py: to search with several processes, start search.py several times")
    with requiring("search"):
        from gpt.searching import report
        from gpt.searching.space import distributions
        from gpt.searching.study import Goal, Search

    base = divided(request.rest)
    folder = Path(config.study or Path(base.config.runs, base.name))
    space = distributions(base.ranges)
    prune = config.prune
    if prune and (other := [key for key in space if declared(key.partition(".")[0]).changes_targets]):
        log.info(f"no trial is pruned: with another {other[0]}, estimated losses per token cannot be compared")
        prune = False
    goal = Goal.of(config.metric, base.config)
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
    _check_comparable(search)  # workers may have finished trials at the same time
    _report(search, base, request)


def _try(search: "Search", trial: "Trial", base: "Base", request: Request) -> None:
    """Run a trial, whose reports are in its own log."""
    from gpt.base import console
    from gpt.base.stopping import Stopped

    run = search.run_folder(trial.number)
    values = [f"{key}={value}" for key, value in trial.params.items()]
    overrides = [*base.overrides, *values, "resume=auto", f"hydra.run.dir={run}"]
    try:
        with console.reports_hidden():
            search.run(trial, partial(_train, overrides, request, search, run))
    except Stopped as stopped:
        raise Stopped(stopped.number, f"stopped in trial {trial.number}; repeat the command to continue") from None


def _report(search: "Search", base: "Base", request: Request) -> None:
    """Say what was found, and what to do with it."""
    from gpt.base.console import command
    from gpt.base.errors import printable
    from gpt.searching import report

    log.info(f"{report.counts(search.study)}, in {search.folder}")
    best = report.winner(search.study)
    if len(base.ranges) > 1:
        shares = ", ".join(f"{key} {share:.2f}" for key, share in report.importances(search.study).items())
        log.info(f"importances: {shares or 'too few trials yet'}")
    log.info(f"picture: {search.picture}")
    for line in report.edges(best.params, base.ranges):
        log.info(line)
    run, full = search.run_folder(best.number), _full_length(base.config)
    loss = None if search.goal.metric else _loss(run)
    measured = f", measured {loss.objection}" if loss and loss.objection else ""
    unit = f" (nats per {loss.unit}{measured})" if loss else ""
    log.info(f"best: trial_{best.number:03d}, {search.goal.noun} {best.value:.4f}{unit}")
    log.info(f"use it: {command('generate')} run={shlex.quote(str(run))}")
    log.info(f"train the winner{f' in full, for {full:,} iterations' if full else ''}:")
    values = [f"{key}={value}" for key, value in best.params.items()]
    values += [f"training.max_iters={full}"] if full else []
    kept = [word for word in base.overrides if not (full and word.startswith("training.max_iters="))]
    print(printable(f"{command('train')} {shlex.join([*request.options, *kept, *values])}"))


def _full_length(config: TrainConfig) -> int | None:
    """The iterations of the documented run of a stage, if those of the search are fewer."""
    from gpt.cli.composing import composed

    content, settings = composed("train", [f"model={config.stage}"])
    full = int(content["training"]["max_iters"])
    is_known = settings["runtime"]["choices"]["model"] == config.stage
    return full if is_known and full > config.training.max_iters else None


def _train(overrides: list[str], request: Request, search: "Search", run: Path, watcher: "Watcher") -> float:
    """Do what `python train.py OVERRIDES` does, with one more watcher, and return what is searched for.

    Raises UserError as `_check_comparable` does, DivergedError for a metric of NaN or Inf.
    """
    from gpt.base.errors import DivergedError
    from gpt.cli.requesting import of_overrides
    from gpt.runs.folder import RunFolder

    loss = train.main(*of_overrides(overrides, request.options), [watcher])
    _check_comparable(search, run)
    if (metric := search.goal.metric) is None:
        return loss
    metrics = RunFolder(run).summary().metrics
    if metric not in metrics:
        raise DivergedError(f"the metric {metric} is NaN or Inf")
    return metrics[metric]


def _check_comparable(search: "Search", new: Path | None = None) -> None:
    """Raise UserError if losses are over different targets: those of all complete trials, or of one and a `new` run."""
    from gpt.base.errors import UserError

    known = {folder: loss for folder in map(search.run_folder, search.complete) if (loss := _loss(folder))}
    losses = known if new is None else dict([*known.items()][:1])
    if new is not None and (loss := _loss(new)):
        losses[new] = loss
    for (first, of_first), (folder, of_folder) in itertools.pairwise(losses.items()):
        if of_first.key != of_folder.key:
            raise UserError(
                f"the losses of {first} and {folder} are over other targets, which no search can compare: another "
                "text, split or sample, or text that the weights of init= were trained on"
            )


def _loss(folder: Path) -> "Loss | None":
    """The exact loss of a run; None if somebody has removed it."""
    from gpt.runs.folder import RunFolder

    run = RunFolder(folder)
    return run.summary().exact if run.is_finished() else None
