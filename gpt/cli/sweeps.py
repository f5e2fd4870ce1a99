"""Sweeps: the number of jobs, a line for each, and the comparison at the end."""

import contextlib
import math
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser import types
from hydra.errors import HydraException
from omegaconf import DictConfig, read_write

from gpt.base.console import command
from gpt.base.errors import RequestError, UserError, printable
from gpt.base.files import parsing, read_text_file
from gpt.base.typed import expanded, in_quotes, is_path, listed
from gpt.cli.command_line import CommandLine
from gpt.config import given_code
from gpt.config.composing import parsed, sweeper_params
from gpt.config.explanations import explain_composition
from gpt.config.keys import FIXED, declared
from gpt.config.override import Override
from gpt.runs import naming

_COMMAND = naming.SWEEP  # where Hydra records the sweep
_OF_LAUNCHERS = re.compile(r"hydra/(launcher|sweeper)=\w+|hydra\.launcher\.n_jobs=\d+")


@dataclass
class Sweep:
    """What is known of a sweep once it has begun."""

    folder: Path | None = None
    jobs: int | None = None  # None: a sweeper chooses each job after the previous one
    keys: tuple[str, ...] = ()  # those known to differ between its jobs
    logs: Path | None = None  # of the jobs, if their output does not reach this terminal
    is_json: bool = False  # the jobs print JSON, so nothing else may be on standard output
    created: list[Path] = field(default_factory=list)  # the folders that it creates, the innermost first

    def title(self, number: int, overrides: Sequence[Override]) -> str:
        """A line for job `number`, counted from 0, with its swept values: "job 3 of 8: learning_rate=0.001 seed=1"."""
        total = "" if self.jobs is None else f" of {self.jobs}"
        swept = [each for each in overrides if not self.keys or each.key in self.keys]
        own = [f"{each.key.rpartition('.')[2]}={each.value}" for each in swept]
        return f"job {number + 1}{total}: {' '.join(own)}"

    def name(self, given: str | None, number: int) -> str | None:
        """The name of job `number`, counted from 1: the one given, with this number unless the names differ."""
        return f"{given}_{number}" if given and "name" not in self.keys else given

    def remove_empty_folders(self) -> None:
        """Remove the folders that it has created and left empty: submitit's, and its own if no job began a run."""
        empty = [self.logs / "%j", self.logs] if self.logs else []
        with contextlib.suppress(OSError):
            if self.created and [path.name for path in self.created[0].iterdir()] == [_COMMAND]:
                (self.created[0] / _COMMAND).unlink()
        for path in (*empty, *self.created):
            with contextlib.suppress(OSError):  # it is not empty
                path.rmdir()


class Refusal(BaseException):
    """A sweep cannot start. Hydra turns any Exception of a callback into a warning."""


def begin(sweep: Sweep, settings: Any, runs: str) -> list[types.Override]:
    """Record the size and the folder of a sweep; return the overrides of its jobs, one a key, swept or not.

    Ranges become lists of their values, because Hydra's are not exact. The overrides are [] for a sweeper that chooses
    each job after the previous one. Raises Refusal.
    """
    if any(Override.parse(word).key == "hydra.run.dir" for word in settings.overrides.hydra):
        raise Refusal("hydra.run.dir= is for one run: for a sweep, give hydra.sweep.dir=FOLDER")
    folder = Path(str(settings.sweep.dir))
    sweep.folder = Path(expanded(str(folder)))
    sweep.created = [path for path in (folder, *folder.parents) if not path.exists()]
    overrides: dict[str, types.Override] = {}
    if settings.sweeper._target_.endswith("BasicSweeper"):
        params = sweeper_params(settings)
        typed = [*params, *(_settled(Override.parse(word), runs) for word in settings.overrides.task)]
        try:
            given = parsed(typed)
        except HydraException as error:
            raise Refusal(explain_composition(error, "train", typed)) from None
        _check_values(given[len(params) :])
        overrides = {override.key_or_group: override for override in given}  # the command line's, if both have a key
        counts = {key: _count(override) for key, override in overrides.items() if override.is_sweep_override()}
        with read_write(settings):
            settings.sweeper.params = {
                override.get_key_element(): Override.parse(_listed(overrides[override.key_or_group])).value
                for override in given[: len(params)]
            }
            settings.overrides.task = [_listed(override) for override in given[len(params) :]]
        sweep.jobs, sweep.keys = math.prod(counts.values()), tuple(counts)
    if launcher(settings) == "submitit":
        _announce(sweep, settings)
    if launcher(settings) == "joblib" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # joblib would kill its workers before they have saved
    return list(overrides.values())


def _settled(override: Override, runs: str) -> Override:
    """The override; of init=, with folders in place of names, because `last` would be another run in each job."""
    value = override.value or "null"
    if override.key != "init" or value == "null" or "(" in value:
        return override
    try:
        paths = [naming.the_one(item, runs) for item in listed(value)]
    except UserError as error:
        raise Refusal(str(error)) from None
    return replace(override, value=",".join(in_quotes(str(path)) for path in paths))


def _check_values(typed: list[types.Override]) -> None:
    """Raise Refusal for one value after several of the same key, as in resume=SWEEP seed=3."""
    swept: dict[str, types.Override] = {}
    for override in typed:
        key = override.key_or_group
        if override.is_sweep_override():
            swept[key] = override
        elif key in swept:
            raise Refusal(f"{override.input_line} would drop the jobs of {swept[key].input_line}: give all values")


def _count(override: types.Override) -> int:
    """The number of values. Raises Refusal if they cannot be counted, or there are none."""
    key = override.key_or_group
    if not override.is_discrete_sweep():
        raise Refusal(f"{key}: a sweep needs values, as in {key}=1,2; an interval is for {command('search')}")
    if not (count := len(list(override.sweep_string_iterator()))):
        raise Refusal(f"{key}: the range is empty")
    return count


def _listed(override: types.Override) -> str:
    """The override as typed, except for a range, whose values are listed."""
    typed = str(override.input_line)
    if not override.is_discrete_sweep() or "range(" not in typed:
        return typed
    return f"{override.get_key_element()}=choice({','.join(override.sweep_string_iterator())})"


def continued(line: CommandLine) -> list[str] | None:
    """The words of the sweep that `resume=SWEEP` continues, from the record in its folder; None for anything else.

    Of the record, only what a user types for a run and the choice of a launcher is taken: the folder may be anyone's.
    Raises RequestError if several sweeps have this name.
    """
    given = {override.key: override.text for override in line.overrides}
    typed = given.get("resume", "auto")
    if typed == "auto":  # To look for a name, all runs would be read.
        return None
    found = [Path(expanded(typed))] if is_path(typed) else [*naming.find(typed, given.get("runs", naming.RUNS))]
    found = [folder for folder in found if (folder / _COMMAND).is_file()]
    if len(found) > 1:
        raise RequestError(f"{typed} can be {' or '.join(map(str, found))}: give a folder")
    if not found:
        return None
    folder = found[0]
    with parsing(folder / _COMMAND):
        overrides = yaml.safe_load(read_text_file(folder / _COMMAND))["hydra"]["overrides"]
        recorded = [Override.parse(str(word)) for word in overrides["task"]]
        hydras = [word for word in map(str, overrides["hydra"]) if _OF_LAUNCHERS.fullmatch(word)]
    task = [each for each in recorded if each.key != "resume" and not each.key.startswith("hydra")]
    for each in filter(given_code.is_code, task):
        if each not in line.overrides:
            raise RequestError(f"resume={folder}: its jobs have code of your own, which a folder lacks: add {each}")
    others = [each for each in line.overrides if each.key != "resume" and each not in task]
    _check_kept(folder, others, task)
    own = [Override("resume", "auto"), Override("hydra.sweep.dir", str(folder))]
    options = [option for option in line.options if option != "-m"]
    return ["-m", *options, *map(str, task), *hydras, *map(str, others), *map(str, own)]


def _check_kept(folder: Path, others: Sequence[Override], task: Sequence[Override]) -> None:
    """Raise RequestError for a setting beside resume=SWEEP that is not one of those swept over."""
    swept = {each.key for each in task if {*",("} & {*(each.value or "")}}
    for each in others:
        if declared(each.key).role in FIXED and each.key not in swept:
            raise RequestError(f"resume={folder}: a resumed sweep keeps its settings; for {each}, start a new one")


def _announce(sweep: Sweep, settings: DictConfig) -> None:
    """Print where a cluster's jobs, which have no terminal, are. Raises Refusal where there is no cluster."""
    if settings.launcher._target_.endswith("SlurmLauncher") and shutil.which("srun") is None:
        raise Refusal("this machine has no Slurm (srun): for jobs without it, add hydra/launcher=submitit_local")
    sweep.logs = Path(settings.launcher.submitit_folder).parent
    jobs = f"{sweep.jobs or ''} {'job' if sweep.jobs == 1 else 'jobs'}".strip()
    stream = sys.stderr if sweep.is_json else sys.stdout
    print(printable(f"{jobs} in {settings.sweep.dir}, their logs in {sweep.logs}"), file=stream, flush=True)


def launcher(settings: Any) -> str | None:
    """The plugin of the launcher in Hydra's settings, as in "joblib"; None for Hydra's own, one job after another."""
    plugin = re.match(r"hydra_plugins\.hydra_(\w+)_launcher\.", settings.launcher._target_)
    return plugin and plugin[1]
