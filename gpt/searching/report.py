"""The report of a search: the best trial, the importance of each hyperparameter, and a picture of both."""

import itertools
import logging
import math
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from gpt.base.console import command
from gpt.base.errors import RequestError, printable
from gpt.base.keys import having
from gpt.base.pictures import write_picture
from gpt.base.request import Request
from gpt.base.schema import TrainConfig
from gpt.cli.arguments import for_sweep
from gpt.cli.composing import composed
from gpt.cli.ranges import Base, Range
from gpt.reports.axes import log_axis
from gpt.reports.ranking import edge
from gpt.runs.naming import trial_name
from gpt.searching.study import EXACT, Goal, Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEAR = 0.05  # of the length of an interval: what counts as its edge

log = logging.getLogger("gpt")


def conclude(search: Search, base: Base, request: Request) -> None:
    """Say what was found, and what to do with it."""
    log.info(f"{counts(search.study)}, in {search.folder}")
    best = winner(search.study)
    if len(base.ranges) > 1:
        shares = ", ".join(f"{key} {share:.2f}" for key, share in importances(search.study).items())
        log.info(f"importances: {shares or 'too few trials yet'}")
    log.info(f"picture: {search.picture}")
    for line in edges(best.params, base.ranges):
        log.info(line)
    full, finished = _full_length(base), search.finished(best.number)
    loss = finished[0].summary.exact if finished and not search.goal.metric else None
    measured = f", measured {loss.objection}" if loss and loss.objection else ""
    unit = f" (nats per {loss.unit}{measured})" if loss else ""
    log.info(f"best: {trial_name(best.number)}, {search.goal.noun} {best.value:.4f}{search.goal.over_seeds}{unit}")
    if finished:
        log.info(f"use it: {command('generate')} run={shlex.quote(str(finished[0].folder.path))}")
    length = f" in full, for {full:,} iterations" if full else ""
    log.info(f"train the winner{length}{', with each seed' if base.seeds else ''}:")
    values = [f"{key}={value}" for key, value in best.params.items()]
    values += [f"training.max_iters={full}"] if full else []
    words = [word for word in base.overrides if not (full and word.startswith("training.max_iters="))] + values
    if base.seeds:
        words = ["-m", *(for_sweep(word, TrainConfig) for word in words), f"seed={','.join(map(str, base.seeds))}"]
    print(printable(f"{command('train')} {shlex.join([*request.options, *words])}"))


def _full_length(base: Base) -> int | None:
    """The iterations of the documented run of a stage, if those of the search are fewer; None if it has no iterations.

    That is a search in epochs, or over the length.
    """
    config, lengths = base.config, {"training.max_iters", *having("decides")}
    if "max_iters" in config.training.undecided or lengths & base.ranges.keys():
        return None
    content, settings = composed("train", [f"model={config.stage}"])
    full = int(content["training"]["max_iters"])
    is_known = settings["runtime"]["choices"]["model"] == config.stage
    return full if is_known and full > config.training.max_iters else None


def counts(study: optuna.Study) -> str:
    """The number of trials in each state: "30 trials: 18 complete, 12 pruned"."""
    trials = study.get_trials(deepcopy=False)
    states = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    noun = "trial" if len(trials) == 1 else "trials"
    return f"{len(trials)} {noun}: " + ", ".join(f"{count} {state}" for state, count in states.items() if count)


def importances(study: optuna.Study) -> dict[str, float]:
    """Each hyperparameter's importance for the loss, largest first; empty if there are too few trials to tell.

    Source: "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces" (Watanabe et al.,
    2023), section 4.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # with too few trials
            warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna 4 warns that this evaluator is experimental
            return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError, UserWarning):
        return {}


def winner(study: optuna.Study) -> FrozenTrial:
    """The first of the complete trials with the best value. Raises RequestError if there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise RequestError("no trial is complete: raise n_trials, or turn pruning off with prune=false")
    return min(complete, key=lambda trial: (trial.value != study.best_value, trial.number))


def edges(params: Mapping[str, Any], ranges: Mapping[str, Range]) -> list[str]:
    """A sentence for each number among the best hyperparameters that is near the end of its interval."""
    found = []
    for key, where in ranges.items():
        if where.values is None and key in params and where.low < where.high:
            ends = (where.low, params[key], where.high)
            low, best, high = map(math.log, ends) if where.is_log else ends
            if best - low <= _NEAR * (high - low):
                found += edge(key, params[key], "smaller")
            elif high - best <= _NEAR * (high - low):
                found += edge(key, params[key], "larger")
    return found


def draw(study: optuna.Study, path: Path, goal: Goal = EXACT) -> None:
    """Draw the value of each trial with the best so far; beside it the importances, or one hyperparameter's values."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    trials = study.get_trials(deepcopy=False)
    searched = {key: where for trial in trials for key, where in trial.distributions.items()}
    _draw_trials(left, trials, goal, "trial", lambda trial: trial.number)
    complete = [(trial.number, trial.value) for trial in trials if trial.state is TrialState.COMPLETE]
    if complete:
        numbers, values = zip(*complete, strict=True)
        best = [*itertools.accumulate(values, max if goal.is_higher else min)]
        left.step(numbers, best, where="post", color="tab:orange", label="best so far")
    left.legend()
    if len(searched) == 1:  # its importance would always be 1
        ((key, where),) = searched.items()
        _draw_trials(right, trials, goal, key.rpartition(".")[2], lambda trial: trial.params[key])
        if getattr(where, "log", False):  # not of a choice
            log_axis(right, [trial.params[key] for trial in trials])
    else:
        found = importances(study)
        right.barh([key.rpartition(".")[2] for key in found][::-1], list(found.values())[::-1])
        right.set(xlabel="importance", xlim=(0, 1), title=None if found else "importances: too few trials yet")
    write_picture(path, figure)


def _draw_trials(
    axes: "Axes", trials: Sequence[FrozenTrial], goal: Goal, name: str, place: Callable[[FrozenTrial], Any]
) -> None:
    """The values of complete trials; pruned ones above, since their last values are of fewer iterations."""
    complete, pruned = (
        [trial for trial in trials if trial.state is state] for state in (TrialState.COMPLETE, TrialState.PRUNED)
    )
    axes.plot([*map(place, complete)], [trial.value for trial in complete], "o", color="tab:blue", label="complete")
    height = axes.get_xaxis_transform()
    axes.plot([*map(place, pruned)], [0.97] * len(pruned), "x", color="grey", label="pruned", transform=height)
    axes.margins(y=0.1)
    axes.set(xlabel=name, ylabel=(goal.metric or f"{goal.noun} (nats)") + goal.over_seeds)
    axes.grid(alpha=0.3)
