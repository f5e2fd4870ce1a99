"""Studies that no search wrote: damaged bytes, odd values and statements in the database, links in place of files."""

import contextlib
import os
import random
import resource
import shutil
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import report
from gpt.searching.report import counts, importances, winner
from gpt.searching.study import Search
from tests.faults.trials import PUT, check, put, repeated, tree

SPACE = {
    "training.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer": CategoricalDistribution(["adamw", "sgd"]),
    "model.n_layer": IntDistribution(1, 4),
}
_SECONDS, _MEMORY = 3.0, 8 * 2**30  # of processor time, and of address space
_VALUES: tuple[Any, ...] = (
    None, 0, 1, -1, 2**63 - 1, 1e308, -0.5, float("inf"), "", "x", "\0", "\x1b[2J\n", "x" * 2_000_000, b"\xff",
    "data.path", "init", "hydra.run.dir", "${oc.env:HOME}", "COMPLETE", "RUNNING", "WAITING", "MAXIMIZE", "NAN", "null",
    "{}", "[]", "[" * 100_000, '{"name": "CategoricalDistribution", "attributes": {"choices": ["/etc/passwd", "x"]}}',
    '{"name": "FloatDistribution", "attributes": {"low": 0, "high": 1e300, "log": false, "step": null}}',
)  # fmt: skip
_STATEMENTS = (
    "CREATE TRIGGER t AFTER INSERT ON trials BEGIN UPDATE trial_params SET param_name = 'data.path'; END",
    "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
    "CREATE TABLE other (x, y GENERATED ALWAYS AS (zeroblob(1000000000)))",
    "ALTER TABLE trials RENAME TO older", "ALTER TABLE trials ADD COLUMN x", "DROP TABLE trial_params",
    "DROP TABLE version_info", "DROP INDEX ix_studies_study_name", "PRAGMA journal_mode=WAL", "PRAGMA user_version=9",
    "UPDATE alembic_version SET version_num = 'v9.9.9.z'", "UPDATE version_info SET schema_version = 99",
    "DELETE FROM study_directions", "DELETE FROM trial_params WHERE param_id = 1",
    "DELETE FROM trials WHERE number = 1", "DELETE FROM trial_values",
    "INSERT INTO study_directions VALUES (9, 'MINIMIZE', 1, 1)",
    "UPDATE trials SET state = 'RUNNING'", "UPDATE trial_params SET param_name = 'data.path' WHERE param_id = 12",
)  # fmt: skip


def _with_value(study: Path, draw: random.Random) -> str:
    with contextlib.closing(sqlite3.connect(study / "study.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = draw.choice(tables)
        column = draw.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
    value, rows = draw.choice(_VALUES), draw.choice(["1", "rowid = 1", f"rowid = (SELECT max(rowid) FROM {table})"])
    with contextlib.suppress(sqlite3.Error):  # it would not be unique
        _execute(study, f"UPDATE {table} SET {column} = ? WHERE {rows}", value)
    return f"{table}.{column} = {value!r:.60} where {rows}"


def _with_statement(study: Path, draw: random.Random) -> str:
    _execute(study, statement := draw.choice(_STATEMENTS))
    return statement


def _execute(study: Path, statement: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(study / "study.db")) as connection, connection:
        connection.execute(statement, values)


def _with_bytes(study: Path, draw: random.Random) -> str:
    content = bytearray((study / "study.db").read_bytes())
    position, length = draw.randrange(len(content)), draw.choice([1, 4, 100, 4096])
    what, part = draw.choice([
        ("flipped", bytes([content[position] ^ 1 << draw.randrange(8)])), ("noise", draw.randbytes(length)),
        ("zeros", bytes(length)), ("moved", content[: draw.randrange(len(content))][-length:]),
    ])  # fmt: skip
    content[position : position + len(part)] = part
    if draw.random() < 0.2:
        what, content = "cut", content[:position]
    (study / "study.db").write_bytes(content)
    return f"{length} bytes {what} at {position}"


def _link(study: Path, draw: random.Random) -> str:
    name = draw.choice(["study.db", "study.db-journal", "study.db-wal", "study.db-shm", ".lock", "trial_003"])
    kind = draw.choice([*PUT])
    put(kind, study / name, study.parent / "outside" / ("run" if name.startswith("trial") else "victim"))
    return f"{kind} as {name}"


def _search_on(study: Path) -> list[str]:
    """Go on with a search, and say which values were used that are not its own."""
    search = Search(study, SPACE, {"seed": 1}, seed=1, prune=True)
    wrong = []
    for trial in search.trials(6):
        params = trial.params
        if params.keys() != SPACE.keys() or not all(SPACE[key]._contains(SPACE[key].to_internal_repr(params[key]))
                                                    for key in SPACE):  # fmt: skip
            wrong.append(f"values of another search: {params!r:.80}")
        if search.trial_folder(trial.number).parent != study:
            wrong.append(f"another folder: {search.trial_folder(trial.number)}")
        search.run(trial, lambda _: 1.5)
    winner(search.study)
    importances(search.study)
    counts(search.study)
    return wrong


def _prepare(folder: Path) -> None:
    """In a new process, search on in the study as it was, which imports what is imported where it is used."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    shutil.copytree(folder, place := folder.with_name(f"first_{os.getpid()}"))
    assert _search_on(place / "study") == []


def _trial(whole: Path, number: int, place: Path) -> Iterator[str]:
    shutil.copytree(whole, place, dirs_exist_ok=True)
    draw = random.Random(number)
    damage = draw.choice([_with_value] * 5 + [_with_bytes] * 3 + [_with_statement, _link])
    what = damage(place / "study", draw)
    outside, started = tree(place / "outside"), time.process_time()
    try:
        wrong = _search_on(place / "study")
    except Exception as error:
        said, _ = report(error) or ("\n", 1)
        wrong = [f"{error!r:.300}"] if "\n" in said else []
    wrong += [] if tree(place / "outside") == outside else ["something outside was changed"]
    seconds = time.process_time() - started
    wrong += [f"{seconds:.1f} s"] if seconds > _SECONDS else []
    yield from (f"{what}: {line}" for line in wrong)


@repeated(12, 200, 1000)
def test_a_search_goes_on_within_its_space_or_says_why_not(count: int, tmp_path: Path) -> None:
    """In a study with damaged bytes, odd values, statements or links: nothing outside changes, within 3 s."""
    whole = tmp_path / "whole"
    search = Search(whole / "study", SPACE, {"seed": 1}, seed=1, prune=True)
    trials = search.trials(4)
    for loss in (2.0, 1.0, 3.0):
        trial = next(trials)
        trial.report(loss, 4)
        search.run(trial, lambda _, loss=loss: loss)
    next(trials)  # and abandoned
    (whole / "outside" / "run").mkdir(parents=True)
    (whole / "outside" / "victim").write_text("precious")
    check(partial(_trial, whole), count, tmp_path, partial(_prepare, whole))
