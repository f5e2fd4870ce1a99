"""The study of a search: a folder with an SQLite file, one run folder per trial, and the workers' locks.

A trial is one row of the study from the moment its hyperparameters are drawn, and a worker holds a lock on it until
its result is stored. A row without a result whose lock is free was left by a worker that died: the next worker resumes
that trial, in the same run folder, as train.py resume=auto does. Optuna's own heartbeat would notice the death only
after a grace period, count the trial as failed, and start it anew as another one.

The file may be a stranger's: nothing is used of a trial whose values are not from the search's own space.
"""

import itertools
import json
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import optuna
import torch
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from gpt.base.errors import DivergedError, RequestError, UnavailableError, UserError, report
from gpt.base.keys import differences
from gpt.base.schema import TrainConfig
from gpt.base.seeding import generator
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder, RunState
from gpt.runs.naming import STUDY, trial_name
from gpt.runs.records import Summary
from gpt.searching.space import combinations, contains, rounded, spread
from gpt.training.metrics import is_higher_better
from gpt.training.progress import Evaluation
from gpt.training.state import TrainingState
from gpt.training.watchers import Phase, Watcher

_SPREAD = 10  # the first trials, which cover the space evenly
_DRAWS = 100  # that repeat earlier trials, before giving up on the sampler
_SETTINGS = "settings"  # what a study stores of the search that made it
_PATIENCE = 60.0  # seconds to wait for another worker's transaction
_ERRORS = (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError)  # of the libraries that use a study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Goal:
    """What a search is for: by default, the lowest exact validation loss."""

    metric: str | None = None  # the best value of this metric instead, estimated on the validation split
    is_higher: bool = False  # whether a higher value is better
    seeds: Sequence[int] = ()  # over which it is averaged; (): a trial is one run

    @classmethod
    def of(cls, metric: str, config: TrainConfig, seeds: Sequence[int]) -> Self:
        """The goal that conf/search.yaml names. Raises RequestError as `is_higher_better` does."""
        if metric == "exact":
            return cls(seeds=seeds)
        return cls(metric, is_higher_better(config.metrics, metric), seeds)

    @property
    def noun(self) -> str:
        """What trials are compared by."""
        return self.metric or "exact validation loss"

    @property
    def over_seeds(self) -> str:
        """In words, over how many seeds its value is averaged, to follow its name or its value."""
        return f", mean of {len(self.seeds)} seeds" if self.seeds else ""

    def of_run(self, summary: Summary) -> float:
        """What trials are compared by, of one run. Raises DivergedError for a metric of NaN or Inf."""
        if self.metric is None:
            return summary.exact.common
        if self.metric not in summary.metrics:
            raise DivergedError(f"the metric {self.metric} is NaN or Inf")
        return summary.metrics[self.metric]

    def of_evaluation(self, evaluation: Evaluation) -> float | None:
        """What trials are compared by before they end; None if it is NaN or Inf."""
        return evaluation.val.nats if self.metric is None else evaluation.metrics[self.metric].val


EXACT = Goal()


class PrunedError(UserError):
    """A trial was stopped early because it is unpromising."""

    ending = "pruned"


class Search:
    """A search in a folder. Raises RequestError if the folder holds a different search, UserError if it is damaged."""

    def __init__(
        self,
        folder: Path,
        space: dict[str, BaseDistribution],
        settings: dict[str, Any],
        *,
        seed: int,
        prune: bool,
        goal: Goal = EXACT,
    ) -> None:
        self.folder, self._space, self._seed, self.goal = folder, space, seed, goal
        settings = settings | ({"metric": goal.metric} if goal.metric else {})
        settings |= {"seed": goal.seeds} if goal.seeds else {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        self._file = folder / STUDY
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.picture = folder / "search.png"
        with self._lock, _usable(self._file, (Exception,)):  # whatever the libraries make of a damaged file
            self.study = _opened(self._file, MedianPruner() if prune else NopPruner(), goal)
            self._check_same(settings | {"space": {key: distribution_to_json(d) for key, d in space.items()}})
            self._check_trials()

    def trials(self, n_trials: int) -> Iterator[Trial]:
        """Yield trials to run until the study has `n_trials` in all; each is locked until the next is requested."""
        while True:
            with ExitStack() as locks:
                with self._lock, self._storage():
                    trial = self._abandoned(locks) or self._new(n_trials, locks)
                    self._check_trials()
                if trial is None:
                    return
                yield trial

    def run(self, trial: Trial, train: Callable[[Watcher], float]) -> None:
        """Call `train` with the watcher that prunes, and store the loss that it returns.

        Raises RequestError if the trial fails and none has succeeded yet: the others would probably fail in the same
        way.
        """
        try:
            with _usable(self._file):
                loss = train(_Pruning(trial, self.goal))
        except (PrunedError, DivergedError) as error:
            log.info(str(error))
            self._tell(trial, state=TrialState.PRUNED)
        except Exception as error:
            reason, _ = report(error) or ("", 0)
            is_too_large = reason and isinstance(error, MemoryError | RuntimeError)
            is_theirs = isinstance(error, RequestError | ValidationError) and not isinstance(error, UnavailableError)
            if not (is_theirs or is_too_large):
                raise  # not because of the hyperparameters: the trial can be resumed once the problem is fixed
            self._tell(trial, state=TrialState.FAIL)
            if not self._trials(TrialState.COMPLETE, TrialState.PRUNED):
                raise RequestError(f"trial {trial.number} failed, and none has succeeded: {reason}") from None
            log.warning(f"trial {trial.number} failed: {reason}")
        else:
            self._tell(trial, loss)

    def result(self, number: int) -> str:
        """What came out of a trial, in words."""
        trial = self._trials()[number]
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            return f"{trial.value:.4f}{'  best so far' if trial.value == self.study.best_value else ''}"
        return trial.state.name.lower()

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial, which is its run folder if it has no seeds of its own."""
        return self.folder / trial_name(number)

    def runs(self, number: int) -> dict[Path, list[str]]:
        """The run folders of a trial, each with the overrides that are its own."""
        folder = self.trial_folder(number)
        return {folder / f"seed_{seed}": [f"seed={seed}"] for seed in self.goal.seeds} or {folder: []}

    def finished(self, number: int) -> list[FinishedRun]:
        """The finished runs of a trial, the best first; somebody may have removed some."""
        runs = [RunFolder(path) for path in self.runs(number)]
        finished = [FinishedRun(run, run.summary()) for run in runs if run.is_finished()]
        return sorted(finished, key=lambda run: self.goal.of_run(run.summary), reverse=self.goal.is_higher)

    def check_comparable(self, *new: int) -> None:
        """Raise UserError if the losses of all complete trials and of `new` ones are over different targets."""
        complete = [trial.number for trial in self._trials(TrialState.COMPLETE)]
        numbers = [*complete[:1], *new] if new else complete  # which have been compared when they were new
        losses = {run.folder.path: run.summary.exact for number in numbers for run in self.finished(number)}
        for (first, of_first), (folder, of_folder) in itertools.pairwise(losses.items()):
            if of_first.key != of_folder.key:
                raise UserError(
                    f"the losses of {first} and {folder} are over other targets, which no search can compare: another "
                    "text, split or sample, or text that the weights of init= were trained on"
                )

    def _tell(self, trial: Trial, loss: float | None = None, state: TrialState = TrialState.COMPLETE) -> None:
        with self._storage():
            self.study.tell(trial, loss, state)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """The study's file."""
        with _usable(self._file):
            yield

    def _check_trials(self) -> None:
        for number, trial in enumerate(self._trials()):
            is_inside = trial.distributions == self._space and all(
                contains(self._space[key], value) for key, value in trial.params.items()
            )
            has_loss = trial.state is not TrialState.COMPLETE or [*map(math.isfinite, trial.values or [])] == [True]
            if not (trial.number == number and is_inside and has_loss):
                raise UserError(f"{self._file} is damaged: its trial {number} does not belong to this search")

    def _abandoned(self, locks: ExitStack) -> Trial | None:
        """A trial whose worker died, locked."""
        for frozen in self._trials(TrialState.RUNNING):
            started = [run for path in self.runs(frozen.number) if (run := RunFolder(path)).is_started()]
            if any(RunState.of(run).name == "training" for run in started):  # somebody has resumed it by hand
                continue
            if self._acquired(frozen, locks):
                if self._trials()[frozen.number].state is TrialState.RUNNING:  # not told since
                    return Trial(self.study, frozen._trial_id)  # Optuna has no public call for this
                locks.close()
        return None

    def _new(self, n_trials: int, locks: ExitStack) -> Trial | None:
        """A new trial, locked.

        It is stored with its hyperparameters in one transaction, so that a kill cannot separate them.
        """
        earlier = self.study.get_trials()
        if len(earlier) >= n_trials:
            return None
        params = self._drawn(earlier)
        if params is None:
            log.info("every combination has been tried")
            return None
        _check_free(self.trial_folder(len(earlier)))
        self.study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=self._space))
        frozen = self._trials()[-1]
        self._acquired(frozen, locks)
        return Trial(self.study, frozen._trial_id)

    def _drawn(self, earlier: list[FrozenTrial]) -> dict[str, Any] | None:
        """The next hyperparameters, a function of the seed and the trials so far; None if none are left.

        Repeating a trial would give the same loss.
        """
        tried = [trial.params for trial in earlier]
        for attempt in range(_DRAWS):
            if len(earlier) < _SPREAD:  # before there is anything to learn from
                offsets = torch.rand(len(self._space), generator=generator(self._seed, "search")).tolist()
                drawn = spread(self._space, len(earlier) + attempt * _SPREAD, offsets)
            else:
                seed = generator(self._seed, "search", len(earlier), attempt).initial_seed() % 2**32
                sampler = TPESampler(seed=seed, n_startup_trials=_SPREAD)
                copy = optuna.create_study(sampler=sampler, direction=self.study.direction)
                copy.add_trials(earlier)
                drawn = copy.ask(self._space).params
            params = {key: rounded(value, self._space[key]) for key, value in drawn.items()}
            if params not in tried:
                return params
        # The sampler keeps drawing what it has found to be good; the rest of a finite space is taken in order.
        return next((params for params in combinations(self._space) if params not in tried), None)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _acquired(self, trial: FrozenTrial, locks: ExitStack) -> bool:
        folder = self.trial_folder(trial.number)
        if link := next((path for path in (folder, *self.runs(trial.number)) if path.is_symlink()), None):
            raise UserError(f"{link} is a link: a trial's run must be in the folder of its study")
        folder.mkdir(exist_ok=True)
        try:
            locks.enter_context(FileLock(folder / ".worker", blocking=False))
        except Timeout:
            return False
        return True

    def _check_same(self, settings: dict[str, Any]) -> None:
        stored = self.study.user_attrs.get(_SETTINGS)
        if stored is None:
            self.study.set_user_attr(_SETTINGS, settings)
        elif json.loads(json.dumps(settings)) != stored:
            changed = ", ".join(differences(stored, settings) or differences(settings, stored))
            raise RequestError(
                f"{self.folder} holds a search with other settings; this one has {changed}: "
                "give it a new folder with study=FOLDER"
            )


def _opened(path: Path, pruner: BasePruner, goal: Goal) -> optuna.Study:
    """The study in a file, which is created if there is none; the caller holds the lock."""
    connect = partial(sqlite3.connect, path, timeout=_PATIENCE, check_same_thread=False)
    storage = RDBStorage(
        "sqlite:///study.db", engine_kwargs={"creator": connect}
    )  # a path may have signs of an address
    direction, best = ("maximize", "highest") if goal.is_higher else ("minimize", "lowest")
    study = optuna.create_study(
        storage=storage, study_name="search", load_if_exists=True, direction=direction, pruner=pruner
    )
    if [each.name.lower() for each in study.directions] != [direction]:
        raise UserError(f"{path} is not the study of a search for the {best} {goal.noun}")
    return study


@contextmanager
def _usable(path: Path, errors: tuple[type[Exception], ...] = _ERRORS) -> Iterator[None]:
    """Turn the errors of the libraries that use a study into one line."""
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(f"cannot use {path}: {reason}") from None


def _check_free(path: Path) -> None:
    """Raise RequestError if a new study or trial would write where something is that it did not make."""
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise RequestError(
            f"{path} already exists and is not part of this search: move it, or name another folder with study=FOLDER"
        )


class _Pruning(Watcher):
    """Reports each evaluation to the study, and ends the run if the other trials were better at this iteration."""

    phase = Phase.SHOW

    def __init__(self, trial: Trial, goal: Goal) -> None:
        self._trial, self._goal = trial, goal
        self._reported = {0, *trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values}

    def between_steps(self, state: TrainingState, is_last: bool) -> None:
        """Report the evaluations that the study lacks, including those from before the run was resumed."""
        evaluations, iteration = state.progress.evaluations, state.progress.iteration
        for evaluation in [each for each in evaluations if each.iteration not in self._reported]:
            if (value := self._goal.of_evaluation(evaluation)) is not None:
                self._trial.report(value, evaluation.iteration)
            self._reported.add(evaluation.iteration)
        is_evaluated = bool(evaluations) and evaluations[-1].iteration == iteration > 0
        if is_evaluated and not is_last and self._trial.should_prune():
            raise PrunedError(
                f"trial {self._trial.number} pruned at iteration {iteration}: "
                f"its {self._goal.metric or 'validation loss'} of {self._goal.of_evaluation(evaluations[-1]):.4f} is "
                f"{'below' if self._goal.is_higher else 'above'} the median of the other trials"
            )
