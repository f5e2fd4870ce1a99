"""Names for run folders: a run's name, `last`, `best`, a stage, a sweep or a search."""

import contextlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from gpt.base.console import command
from gpt.base.errors import RequestError, UserError, printable
from gpt.base.losses import Loss
from gpt.base.paths import expanded, is_path
from gpt.config.values import listed
from gpt.runs.finding import FinishedRun, finished_runs, is_of, last_started, started_runs
from gpt.runs.folder import RunFolder

RUNS = "runs"  # the default folder for looking up names
SWEEP, STUDY = "sweep.json", "study.db"  # in the folder of a sweep, of a search
_SHOWN = 12  # names in a message
_TIME = re.compile(r"^\d\d-\d\d-\d\d_")  # in front of a folder's name


def chosen_run(typed: str | None, runs: str, stage: str | None = None) -> RunFolder:
    """The run at a path or of a name; if None, the newest finished run below `runs`, of any stage or of one.

    Raises RequestError if there is none.
    """
    if typed is None:
        return finished_runs(*run_dirs(runs), stages=[stage] if stage else [])[-1].folder
    run = RunFolder(resolve_run(typed, runs))
    if stage is not None and not is_of(run, stage):
        raise RequestError(
            f"{run.path} is a run of {run.config().stage}, not of {stage}: give run= or model=, not both"
        )
    return run


def run_dirs(runs: str) -> list[Path]:
    """The folders that runs=A,B or runs=[A,B] names; a folder whose own name contains commas counts as one."""
    if Path(runs).exists():
        return [Path(runs)]
    return [path for item in listed(runs) for path in ([Path(RUNS)] if item == RUNS else resolve_runs(item))]


def resolve_run(typed: str, runs: str = RUNS) -> Path:
    """The folder of the run at a path or of a name. Raises RequestError if nothing fits, or several do."""
    return resolve_runs(typed, runs, one=True)[0]


def resolve_runs(typed: str, runs: str = RUNS, *, one: bool = False) -> list[Path]:
    """The folder at a path, or the folders that a name stands for; with `one`, the winner of a sweep or a search.

    Raises RequestError if no run fits or, with `one`, several do.
    """
    found = {Path(expanded(typed)): ""} if is_path(typed) else find(typed, runs, one=one)
    if not found:
        there = ", ".join(_names(runs, typed)) or f"nothing; train a run with {command('train')} model=v5"
        raise RequestError(f"there is no folder {typed} and no run of that name; in {runs} there is {there}")
    if one and len(found) == 1:
        (folder,) = found
        found = (_lowest(finished_runs(folder)) if _is_group(folder) else {}) or found
    if one and len(found) > 1:
        several = (f"{path} ({said})" if said else f"{path}" for path, said in found.items())
        raise RequestError(f"{typed} can be {' or '.join(several)}: give a folder")
    for path, said in found.items():
        if said:
            print(printable(f"{typed}: {path}, {said}"), file=sys.stderr)
    return list(found)


def find(typed: str, runs: str = RUNS, *, one: bool = False) -> dict[Path, str]:
    """The folders below `runs` that a name stands for, each with a remark for the user; {} for a path.

    The first match counts: the name of runs; `last`, started or finished most recently; `best`, the lowest loss for
    each set of targets; a stage, for its finished runs or, with `one`, the newest; the folder of a sweep, a search or
    a run, with or without the time in front of its name.
    """
    if is_path(typed):
        return {}
    folders = run_dirs(runs)
    labels = {run: _labels(run) for run in started_runs(*folders)}
    if named := [run.path for run, (name, _) in labels.items() if name == typed]:
        return dict.fromkeys(named, "")
    if typed == "last":
        return {run.path: "" for run in sorted(labels, key=_last_seen)[-1:]}
    if typed == "best":
        return _lowest(finished_runs(*folders, is_required=False))
    if any(stage == typed and run.is_finished() for run, (_, stage) in labels.items()):
        return {run.folder.path: "" for run in finished_runs(*folders, stages=[typed])[-1 if one else 0 :]}
    folders_of_runs = {path for run in labels for path in (run.path, *run.path.parents)}
    above = {path for path in folders_of_runs if typed in (path.name, _TIME.sub("", path.name))}
    return dict.fromkeys(sorted(path for path in above if not {*folders}.isdisjoint(path.parents)), "")


def _names(runs: str, near: str) -> list[str]:
    """Twelve names that runs go by, first those that contain `near`."""
    labels = {run.path: _labels(run) for run in started_runs(*run_dirs(runs))}
    groups = sorted({path.name for run in labels for path in run.parents if _is_group(path)})
    found = ["last", "best", *(name for name, _ in labels.values()), *(stage for _, stage in labels.values()), *groups]
    known = dict.fromkeys(filter(None, found)) if labels else {}
    return sorted(known, key=lambda name: near not in name)[:_SHOWN]


def _labels(run: RunFolder) -> tuple[str | None, str | None]:
    """The name and the stage of a run; None for a damaged one."""
    with contextlib.suppress(UserError):
        config = run.config()
        return config.name, config.stage
    return None, None


def _last_seen(run: RunFolder) -> tuple[float, float]:
    """When a run was last started or finished, to the second, and when its log was last written."""
    log = run.path / "train.log"
    written = log.stat().st_mtime if log.exists() else 0.0
    with contextlib.suppress(UserError):
        return max(last_started(run)[0], run.summary().finished.timestamp()), written
    return last_started(run)[0], written


def _is_group(folder: Path) -> bool:
    return (folder / SWEEP).is_file() or (folder / STUDY).is_file()


def _lowest(runs: Iterable[FinishedRun]) -> dict[Path, str]:
    """The run of the lowest loss among those whose losses can be compared, for each set of such runs."""
    comparable: dict[object, list[tuple[Loss, Path]]] = defaultdict(list)
    for run in runs:
        comparable[run.summary.exact.key].append((run.summary.exact, run.folder.path))
    best = [(*min(losses, key=lambda pair: pair[0].common), len(losses)) for losses in comparable.values()]
    return {path: f"{loss.formatted}, the lowest of {n} runs" for loss, path, n in best}
