"""The study of a search: Optuna's, in a folder that also holds the run folder of each trial.

A worker holds a lock on its trial until the result is stored. A trial without a result whose lock is free was
interrupted: the next worker resumes it.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import distribution_to_json
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from gpt.base.errors import DivergedError, RequestError, UnavailableError, UserError, report
from gpt.base.seeding import generator
from gpt.config.command import Command
from gpt.config.command_schemas import StudyConfig
from gpt.config.composing import compose
from gpt.config.ranges import Base
from gpt.runs.folder import RunFolder
from gpt.runs.naming import STUDY
from gpt.session import train
from gpt.training.metrics import is_higher_better
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


class Search:
    """A search in a folder, which several processes may share. Raises RequestError if it holds another search."""

    def __init__(self, base: Base, config: StudyConfig) -> None:
        self.metric = None if config.metric == "exact" else config.metric
        self.folder = Path(config.study or Path(base.config.runs, base.name))
        self._space, self._seed = base.space, config.sampling_seed
        is_higher = self.metric is not None and is_higher_better(base.config.metrics, self.metric)
        ranges = [f"{key}: {distribution_to_json(where)}" for key, where in base.space.items()]
        settings = sorted([f"metric={config.metric}", *base.command.words(), *ranges])
        (self.folder / ".locks").mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".locks" / "study")
        with self._lock:
            self.study = _opened(self.folder / STUDY, "maximize" if is_higher else "minimize")
            self.study.pruner = MedianPruner(n_warmup_steps=1) if config.prune else NopPruner()
            if different := ", ".join({*self.study.user_attrs.get("settings", settings)} ^ {*settings}):
                raise RequestError(f"{self.folder} holds another search ({different}): give this one study=FOLDER")
            self.study.set_user_attr("settings", settings)

    def trials(self, n_trials: int) -> Iterator[Trial]:
        """Yield the interrupted trials, then new ones until there are `n_trials`; each is locked until the next."""
        while True:
            with ExitStack() as locks:
                with self._lock:
                    trial = self._next(n_trials, locks)
                if trial is None:
                    return
                yield trial

    def run(self, number: int) -> RunFolder:
        """The run of a trial."""
        return RunFolder(self.folder / f"trial_{number:03d}")

    def train(self, trial: Trial, command: Command) -> FrozenTrial:
        """Train a trial and store its result. Raises errors that its hyperparameters did not cause: it is resumable."""
        run, value, state = self.run(trial.number), None, TrialState.PRUNED
        try:
            with suppress(_PrunedError, DivergedError):
                own = command.replacing({"resume": "auto", "hydra.run.dir": str(run.path)})
                train.main(compose(own), own, [_Pruning(trial, self.metric)])
                summary = run.summary()
                value = summary.metrics.get(self.metric) if self.metric else summary.exact.common
        except (RequestError, ValidationError, MemoryError, RuntimeError) as error:
            reason = report(error)
            if reason is None or isinstance(error, UnavailableError):
                raise
            log.warning(f"trial {trial.number} failed: {reason[0]}")
            state = TrialState.FAIL
        with self._lock:
            return self.study.tell(trial, value, state if value is None else TrialState.COMPLETE)

    def _next(self, n_trials: int, locks: ExitStack) -> Trial | None:
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            with suppress(Timeout):
                locks.enter_context(self._lock_of(trial.number))
                if trial.params.keys() == self._space.keys():
                    return Trial(self.study, trial._trial_id)  # Optuna has no public call for this
                self.study.tell(trial.number, state=TrialState.FAIL)  # interrupted while it was drawn
        number = len(self.study.trials)
        if number >= n_trials:
            return None
        locks.enter_context(self._lock_of(number))
        # Each trial has its own seed: with one for each process, several workers would draw the same.
        self.study.sampler = TPESampler(seed=generator(self._seed, "search", number).initial_seed() % 2**32)
        return self.study.ask(self._space)

    def _lock_of(self, number: int) -> FileLock:
        return FileLock(self.folder / ".locks" / f"trial_{number:03d}", blocking=False)


def _opened(path: Path, direction: str) -> optuna.Study:
    """The study in a file, which is created if there is none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # The signs of a path can have a meaning in an address.
        storage = RDBStorage("sqlite:///study.db", engine_kwargs={"creator": lambda: sqlite3.connect(path)})
        return optuna.create_study(storage=storage, study_name="search", load_if_exists=True, direction=direction)
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError, RuntimeError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(f"cannot use {path}: {reason}") from None


class _PrunedError(UserError):
    """A trial was stopped early because it is unpromising."""

    ending = "pruned"


class _Pruning(Watcher):
    """Reports each evaluation to the study, and ends the run if the other trials were better at this iteration."""

    def __init__(self, trial: Trial, metric: str | None) -> None:
        self._trial, self._metric = trial, metric
        self._reported = {*trial.study.trials[trial.number].intermediate_values}

    def between_steps(self, trainer: Trainer, is_last: bool) -> None:
        """Report the newest evaluation. Raises _PrunedError."""
        if is_last or not trainer.state.is_evaluated:
            return
        newest = trainer.state.evaluations[-1]
        value = newest.metrics[self._metric].val if self._metric else newest.val
        if value is not None and newest.iteration not in self._reported:
            self._trial.report(value, newest.iteration)
        if self._trial.should_prune():
            raise _PrunedError(f"pruned at iteration {newest.iteration}: worse than the median of the other trials")
