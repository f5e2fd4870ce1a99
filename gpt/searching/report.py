"""The report of a search: the best trial, the importance of each hyperparameter, and a picture of both."""

import itertools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from gpt.base.errors import RequestError
from gpt.base.pictures import write_picture
from gpt.cli.ranges import Range
from gpt.reports.axes import log_axis
from gpt.reports.edges import of_interval
from gpt.searching.study import EXACT, Goal


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
    return [
        line
        for key, found in ranges.items()
        if found.values is None and key in params
        for line in of_interval(key, params[key], found.low, found.high, is_log=found.is_log)
    ]


def draw(study: optuna.Study, path: Path, goal: Goal = EXACT) -> None:
    """Draw the value of each trial with the best so far; beside it the importances, or one hyperparameter's values."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    searched = {key: where for trial in study.get_trials(deepcopy=False) for key, where in trial.distributions.items()}
    is_alone = len(searched) == 1  # its importance would always be 1
    complete = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.value is not None]
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    values = [trial.value for trial in complete]
    left.plot([trial.number for trial in complete], values, "o", color="tab:blue", label="complete")
    if values:
        best = list(itertools.accumulate(values, max if goal.is_higher else min))
        left.step([trial.number for trial in complete], best, where="post", color="tab:orange", label="best so far")
    if is_alone:
        right.plot([trial.params[key] for trial in complete for key in searched], values, "o", color="tab:blue")
    for axes in (left, *([right] if is_alone else [])):  # their last values are of fewer iterations: no height is right
        places = [trial.number if axes is left else trial.params[key] for trial in pruned for key in [*searched][:1]]
        axes.plot(places, [0.97] * len(places), "x", color="grey", label="pruned", transform=axes.get_xaxis_transform())
        axes.margins(y=0.1)
    left.set(xlabel="trial", ylabel=goal.metric or f"{goal.noun} (nats)")
    left.grid(alpha=0.3)
    left.legend()
    if is_alone:
        ((key, where),) = searched.items()
        right.set(xlabel=key.rpartition(".")[2], ylabel=goal.metric or f"{goal.noun} (nats)")
        if getattr(where, "log", False):  # not of a choice
            log_axis(right, [trial.params[key] for trial in [*complete, *pruned]])
        right.grid(alpha=0.3)
    else:
        found = importances(study)
        right.barh([key.rpartition(".")[2] for key in found][::-1], list(found.values())[::-1])
        right.set(xlabel="importance", xlim=(0, 1), title=None if found else "importances: too few trials yet")
    write_picture(path, figure)
