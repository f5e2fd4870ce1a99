"""The file of a study, an SQLite database. It may be a stranger's: it is checked as a whole before anything is used.

SQLite follows links, runs the triggers and views of a database, and replays a journal that lies beside it, so none of
these may be there that a search does not write itself. Values are taken only from the search's own space.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from gpt.base.errors import UserError
from gpt.base.files import checked_file, parsing
from gpt.base.records import Record, Total
from gpt.runs.records import Loss
from gpt.searching.space import contains

SETTINGS = "settings"  # what a study stores of the search that made it

_PATIENCE = 60.0  # seconds to wait for another worker's transaction
_LARGEST = 2**27  # bytes of a study, which takes about a kilobyte for each trial
_LONGEST = 2**20  # bytes of a value in it
# What ends a journal that names a second one, which SQLite would delete: "SQLite File Format", section 3.
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")


class _Checked(Record):
    """What a trial of any search is, apart from its hyperparameters."""

    number: Total
    state: Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
    values: list[Loss]
    intermediate_values: dict[Total, Loss]


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the errors of the libraries that use a study into one line."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError) as error:
        raise UserError(f"cannot use {path}: {_line(error)}") from None


def open_study(path: Path, pruner: BasePruner) -> optuna.Study:
    """Open the study in a file, which is created if there is none; the caller holds the lock.

    Raises UserError for a link, and for a file that is damaged or of another version of Optuna.
    """
    _check_files(path)
    try:
        with closing(_connection(path)) as connection:
            _check_content(connection)
        storage = RDBStorage("sqlite:///study.db", engine_kwargs={"creator": partial(_connection, path)})
        study = optuna.create_study(
            storage=storage, study_name="search", load_if_exists=True, direction="minimize", pruner=pruner
        )
        if study.directions != [StudyDirection.MINIMIZE] or not isinstance(study.user_attrs.get(SETTINGS, {}), dict):
            raise ValueError("it is not a study of a search")
        return study
    except UserError:
        raise
    except Exception as error:  # whatever the libraries make of a damaged file
        raise UserError(f"cannot use {path}: {_line(error)}") from None


def check_trials(path: Path, study: optuna.Study, space: dict[str, BaseDistribution]) -> None:
    """Raises UserError unless every trial has a value for each key of this space, from its range, and nothing else."""
    expected = {key: distribution_to_json(distribution) for key, distribution in space.items()}
    with parsing(path):
        for number, trial in enumerate(study.get_trials(deepcopy=False)):
            _Checked.model_validate(
                {"number": trial.number, "state": trial.state.name, "values": trial.values or [],
                 "intermediate_values": trial.intermediate_values}
            )  # fmt: skip
            found = {key: distribution_to_json(distribution) for key, distribution in trial.distributions.items()}
            is_inside = found == expected and all(contains(space[key], trial.params[key]) for key in space)
            is_complete = trial.state != TrialState.COMPLETE or trial.value is not None
            if trial.number != number or not is_inside or not is_complete:
                raise UserError(f"{path} is damaged: its trial {number} does not belong to this search")


def _check_files(path: Path) -> None:
    if not os.path.lexists(path):
        path.touch(exist_ok=False)
    for own in (path, *(path.with_name(path.name + end) for end in ("-journal", "-wal", "-shm"))):
        if os.path.lexists(own) and checked_file(own, _LARGEST).stat().st_nlink > 1:
            raise UserError(f"{own} has a second name elsewhere (a hard link): replace it by a copy")
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists() and journal.read_bytes().endswith(_NAMES_ANOTHER):
        raise UserError(f"{journal} is damaged: it names another file")


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    return connection


def _check_content(connection: sqlite3.Connection) -> None:
    """Raises ValueError if the file is damaged, or has anything but the tables of a study."""
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_master"
    with RDBStorage("sqlite://").engine.connect() as new:
        expected = {tuple(row) for row in new.exec_driver_sql(schema)}
    if not set(connection.execute(schema)) <= expected:  # fewer: a worker was killed while it created them
        raise ValueError("its tables are not those that this version of Optuna writes")
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise ValueError(f"it is damaged: {result}")


def _line(error: BaseException) -> str:
    return str(error.__cause__ or error).partition("\n")[0]
