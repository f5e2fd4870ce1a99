"""Sweeps: Hydra makes jobs of several values and runs them; each job is composed and trained as a single run is."""

import contextlib
import itertools
import json
import logging
import math
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import parent_process
from pathlib import Path
from textwrap import shorten
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser import types
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from gpt.base import console
from gpt.base.commands import COMMANDS
from gpt.base.console import command as called
from gpt.base.errors import RequestError, UserError, printable, report
from gpt.base.files import damaged_as_user_error, read_text_file, write_atomically
from gpt.base.installation import CONF
from gpt.base.paths import expanded, is_path
from gpt.base.stopping import Stopped, following
from gpt.cli.failing import end
from gpt.config.command import Command, SweepJob, command_line
from gpt.config.command_schemas import CompareConfig
from gpt.config.composing import VERSION, compose, hydra_word, settings_of_hydra
from gpt.config.conf import is_choice
from gpt.config.explaining import explained
from gpt.config.keys import FIXED, declared
from gpt.config.reading import MULTIRUN
from gpt.config.schema import SETTING_FILES
from gpt.config.sweeping import in_grammar, is_swept, parsed
from gpt.config.values import Typed, as_typed, in_quotes, listed, parted, unquoted
from gpt.registry import is_user_code
from gpt.runs import naming

_MOST = 100  # jobs that are checked before the first one trains
_OWN = re.compile(r"(?!hydra|resume$)[\w.]+")
_OF_LAUNCHER = re.compile(r"hydra/(launcher|sweeper)=\w+|hydra\.launcher\.n_jobs=\d+")
log = logging.getLogger("gpt")


@dataclass
class Sweep:
    """A sweep of this process, as far as it is known; its jobs, in whatever process, get a copy."""

    fixed: Command  # what all jobs have
    swept: tuple[str, ...] = ()  # the keys of which they have different values, as far as they are known
    count: int | None = None  # of jobs; None if a sweeper chooses each after the previous one
    plugin: str | None = None  # of the launcher
    folder: Path | None = None
    logs: Path | None = None  # of the jobs, if their output does not reach this terminal
    created: list[Path] = field(default_factory=list)  # folders that it makes, the innermost first

    @property
    def is_json(self) -> bool:
        """Whether the jobs print JSON, and so nothing else may be on standard output."""
        return as_typed(self.fixed.settings.get("json")).lower() == "true"


class Refusal(BaseException):
    """A sweep cannot start. Hydra turns any Exception of a callback into a warning."""


class JobError(UserError):
    """A job failed and its error was printed; Hydra runs the other jobs and raises this at the end."""


_current: list[Sweep] = []  # what the callback, which Hydra makes, is about


def run(command: Command) -> None:
    """Train each job of a sweep, then compare its runs."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RequestError("torchrun is for one run: start each job of the sweep by itself")
    if "hydra.run.dir" in command.settings:
        raise RequestError("hydra.run.dir= is for one run: for a sweep, give hydra.sweep.dir=FOLDER")
    if "init" in command.settings:
        command = command.replacing({"init": _settled(command)})
    several = {key: value for key, value in command.settings.items() if is_swept(key, value)}
    fixed = {key: value for key, value in command.settings.items() if key not in several}
    sweep = Sweep(replace(command, settings=fixed))
    _current[:] = [sweep]
    sys.argv[1:] = ["-m", *_for_hydra(command, fixed, several)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, instead of printed by Hydra

    def job(_: DictConfig) -> Any:
        return _job(sweep)

    failed = None
    try:
        with explained():
            hydra.main(**VERSION, config_path=command.foreign or str(CONF), config_name="train")(job)()
    except JobError as error:
        failed = error
    except _errors_of_cluster() as error:
        raise UserError(f"submitit: {shorten(str(error), 400)}") from error
    except Refusal as refused:
        raise RequestError(str(refused)) from None
    finally:
        _remove_empty_folders(sweep)
    if sweep.folder is not None and not sweep.is_json:
        from gpt.reports.comparison import print_comparison  # Matplotlib is slow to import

        print_comparison(sweep.folder, CompareConfig())
    if failed is not None:
        where = f"; logs in {sweep.logs}" if sweep.logs else ""
        end(f"not every job of the sweep succeeded: {failed}{where}", failed.exit_code)


def _errors_of_cluster() -> tuple[type[Exception], ...]:
    """What submitit raises, once it is used, if a job is refused or lost."""
    utils = sys.modules.get("submitit.core.utils")
    return () if utils is None else (utils.UncompletedJobError, utils.FailedSubmissionError)


def _for_hydra(command: Command, fixed: Mapping[str, Any], several: Mapping[str, Any]) -> list[str]:
    """The words for Hydra: options, choices, what is swept over, and where the runs are; the rest it need not know."""
    options = [option for option in command.options if option not in MULTIRUN]
    words = [hydra_word(key, value) for key, value in fixed.items() if is_choice(key) and not is_user_code(key, value)]
    for key, value in several.items():
        _add_user_code(key, value)
        words.append(("" if is_choice(key) else "++") + in_grammar(key, value))
    places = {key: fixed[key] for key in ("runs", "hydra.sweep.dir", "hydra.sweep.subdir") if key in fixed}
    for key, value in places.items():
        if not (text := expanded(unquoted(as_typed(value)))):
            raise RequestError(f"{key}= is empty: name a folder")
        words.append(f"{key}={in_quotes(text)}")
    name = unquoted(as_typed(fixed.get("name")))
    if re.fullmatch(r"(?!null$)[\w.+-]+", name) and "hydra.sweep.dir" not in places:
        words.append(f"hydra.sweep.dir=${{runs}}/${{now:%Y-%m-%d}}/${{now:%H-%M-%S}}_{name}")
    return [*options, *words]


def _add_user_code(group: str, value: Any) -> None:
    """Have Hydra know code of one's own by its name; what it sets is composed in each job."""
    for name in listed(value):
        if is_user_code(group, name):
            *folders, file = name.split("/")
            ConfigStore.instance().store(file, {}, "/".join([group, *filter(None, folders)]), "_global_")


def _settled(command: Command) -> Any:
    """init= with folders in place of names, because `last` would be another run in each job."""
    value, runs = command.settings["init"], as_typed(command.settings.get("runs", naming.RUNS))
    if value in (None, "null") or "(" in value:
        return value
    paths = [str(naming.resolve_run(each, runs)) for each in listed(value)]
    return Typed(",".join(map(in_quotes, paths)))


def _job(sweep: Sweep) -> Any:
    """One job, in this process or a worker: its command is what all jobs have, with its own values."""
    settings = HydraConfig.get()
    words: Any = OmegaConf.to_container(settings.overrides.task)
    own = {key: Typed(value) for key, value in map(parted, map(str, words)) if key not in sweep.fixed.settings}
    number, plugin = settings.job.num, launcher(settings)
    console.show_log(f"[{number + 1}] " if plugin == "joblib" else "")
    title = _title(sweep, number, own)
    if not sweep.is_json:
        log.info(title)
    parent = parent_process() if plugin == "joblib" else None  # Other launchers have no long-lived parent.
    worker = contextlib.nullcontext() if parent is None or parent.pid is None else following(parent.pid)
    with worker, _errors_of(title, sweep):
        command = _command_of_job(sweep, own, number, settings)
        if plugin == "submitit" and "resume" not in command.settings:  # a requeued job has its original command line
            command = command.replacing({"resume": "auto"})
        config = compose(command)
        return COMMANDS["train"].load()(config, command)


def _command_of_job(sweep: Sweep, own: Mapping[str, Any], number: int, settings: Any) -> Command:
    folder, subdir = Path(expanded(settings.sweep.dir)), settings.sweep.subdir
    job = SweepJob(number, folder, None if subdir == "." else folder / subdir, sweep.swept)
    command = _named(sweep.fixed.replacing(own, job=job), own, number)
    return replace(command, line=command_line("train", [*command.same_place, *command.words()]))


def _named(command: Command, own: Mapping[str, Any], number: int) -> Command:
    """The command of a job, with a name of its own if all of them were given one."""
    name = unquoted(as_typed(command.settings.get("name")))
    return command if name == "null" or "name" in own else command.replacing({"name": f"{name}_{number + 1}"})


def _title(sweep: Sweep, number: int, own: Mapping[str, Any]) -> str:
    """The line of a job, with its swept values: "job 3 of 8: learning_rate=0.001 seed=1"."""
    total = "" if sweep.count is None else f" of {sweep.count}"
    shown = [f"{key.rpartition('.')[2]}={value}" for key, value in own.items() if not sweep.swept or key in sweep.swept]
    return f"job {number + 1}{total}: {' '.join(shown)}"


@contextlib.contextmanager
def _errors_of(title: str, sweep: Sweep) -> Iterator[None]:
    """Report the error of a job in one line; the other jobs go on. A signal was meant for all of them."""
    try:
        yield
    except Stopped as error:
        end(
            f"{error}; resume the sweep with: {called('train')} resume={shlex.quote(str(sweep.folder))}",
            error.exit_code,
            prefix="",
        )
    except Exception as error:
        if (reported := report(error)) is None:
            raise
        failed = JobError(f"{title}: {reported[0]}")
        failed.exit_code = reported[1]
        print(console.in_red(printable(f"error: {failed}"), sys.stderr), file=sys.stderr)
        raise failed from None


class SweepCallback(Callback):
    """Begin a sweep, or refuse one that has a job with a wrong value; named in conf/train.yaml."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        if _current:
            _begin(_current[0], config.hydra)


def _begin(sweep: Sweep, settings: Any) -> None:
    """Count the jobs, check them, and record the sweep in its folder. Raises Refusal."""
    sweep.folder = folder = Path(str(settings.sweep.dir))
    sweep.plugin = launcher(settings)
    if settings.launcher._target_.endswith("SlurmLauncher") and shutil.which("srun") is None:
        raise Refusal("this machine has no Slurm (srun): for jobs without it, add hydra/launcher=submitit_local")
    sweep.created[:] = [path for path in (folder, *folder.parents) if not path.exists()]
    params = {
        key: str(value) for key, value in (settings.sweeper.params or {}).items() if key not in sweep.fixed.settings
    }
    if settings.sweeper._target_.endswith("BasicSweeper"):
        typed = {key: value or "" for key, value in (parted(str(word)) for word in settings.overrides.task)}
        several = {key: value for key, value in (params | typed).items() if key not in sweep.fixed.settings}
        try:
            with explained():
                given = dict(zip(several, parsed(several), strict=True))
            values = {key: _values(key, override) for key, override in given.items()}
            sweep.swept = tuple(key for key, override in given.items() if override.is_sweep_override())
            sweep.count = math.prod(map(len, values.values()))
            with read_write(settings):  # ranges as lists, because Hydra's are not exact; what is typed replaces params
                settings.sweeper.params = {}
                kept = [word for word in map(str, settings.overrides.task) if parted(word)[0] not in several]
                settings.overrides.task = [*kept, *(_word(key, given[key], values[key]) for key in several)]
            _check_jobs(sweep, values)
        except RequestError as error:
            raise Refusal(str(error)) from None
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / naming.SWEEP, _record(sweep, settings))
    if sweep.plugin == "submitit":
        _announce(sweep, settings)
    if sweep.plugin == "joblib" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # joblib would kill its workers before they have saved


def _values(key: str, override: types.Override) -> list[str]:
    """The values of a key, in words. Raises RequestError if they cannot be counted, or there are none."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise RequestError(f"{key}: a sweep needs values, as in {key}=1,2; an interval is for {called('search')}")
    if not (values := list(override.sweep_string_iterator())):
        raise RequestError(f"{key}: the range is empty")
    return values


def _word(key: str, override: types.Override, values: list[str]) -> str:
    """What is swept over, as Hydra takes it: the values of a range one by one."""
    prefix, typed = "" if is_choice(key) else "++", str(override.input_line)
    is_range = override.is_discrete_sweep() and "range(" in typed
    return f"{prefix}{key}=choice({','.join(values)})" if is_range else f"{prefix}{typed}"


def _check_jobs(sweep: Sweep, values: Mapping[str, list[str]]) -> None:
    """Compose each job, so that none fails after another was trained. Raises RequestError."""
    for group in SETTING_FILES:
        for choice in values.get(group, ()):
            with contextlib.suppress(RequestError):  # the job will say more
                settings = settings_of_hydra(Command("train", {group: Typed(choice)}, sweep.fixed.options))
                if settings.mode == RunMode.MULTIRUN or settings.sweeper.params:
                    raise Refusal(f"{group}={choice} is a sweep itself: start it alone")
    for job in itertools.islice(itertools.product(*values.values()), _MOST):
        own = {key: Typed(value) for key, value in zip(values, job, strict=True)}
        try:
            compose(_named(sweep.fixed.replacing(own), own, (sweep.count or 1) - 1))
        except Exception as error:
            if (reported := report(error)) is None:
                raise
            swept = " ".join(f"{key}={value}" for key, value in own.items() if key in sweep.swept)
            raise RequestError(f"nothing was trained, because of the job {swept}: {reported[0]}") from None


def _record(sweep: Sweep, settings: Any) -> str:
    """The settings of a sweep, for `continued`: those that were typed, as text, and those that are objects."""
    typed = {key: value for key, value in sweep.fixed.settings.items() if isinstance(value, Typed)}
    objects = {key: value for key, value in sweep.fixed.settings.items() if not isinstance(value, Typed)}
    several = (parted(str(word)) for word in settings.overrides.task)
    typed |= {key: Typed(value) for key, value in several if key not in sweep.fixed.settings}
    return json.dumps({"typed": typed, "objects": objects, "run": sweep.fixed.run}, indent=2)


def continued(command: Command) -> Command:
    """The command of the sweep that `resume=SWEEP` continues, from the record in its folder; else the command itself.

    Of the record, only what a user types for a run and the choice of a launcher is taken: the folder may be anyone's.
    Raises RequestError if several sweeps have this name.
    """
    name = unquoted(as_typed(command.settings.get("resume", "auto")))
    if name in ("auto", "null"):  # To look for a name, all runs would be read.
        return command
    runs = as_typed(command.settings.get("runs", naming.RUNS))
    found = [Path(expanded(name))] if is_path(name) else [*naming.find(name, runs)]
    found = [folder for folder in found if (folder / naming.SWEEP).is_file()]
    if len(found) > 1:
        raise RequestError(f"{name} can be {' or '.join(map(str, found))}: give a folder")
    if not found:
        return command
    (folder,) = found
    with damaged_as_user_error(folder / naming.SWEEP):
        record = json.loads(read_text_file(folder / naming.SWEEP))
        typed = {str(key): Typed(value) for key, value in record["typed"].items()}
        recorded = typed | dict(record["objects"])
    kept = {
        key: value for key, value in recorded.items() if _OWN.fullmatch(key) or _OF_LAUNCHER.fullmatch(f"{key}={value}")
    }
    others = {key: value for key, value in command.settings.items() if key != "resume" and kept.get(key) != value}
    _check_kept(folder, kept, command.settings, others)
    own = {"resume": "auto", "hydra.sweep.dir": str(folder)}
    options = ("-m", *(option for option in command.options if option not in MULTIRUN))
    return replace(command, settings={**kept, **others, **own}, options=options, run=record["run"])


def _check_kept(folder: Path, kept: Mapping[str, Any], given: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raise RequestError for code that the command lacks, and for a setting that is not one of those swept over."""
    for key, value in kept.items():
        if any(is_user_code(key, name) for name in listed(as_typed(value))) and given.get(key) != value:
            raise RequestError(
                f"resume={folder}: its jobs have code of your own, which a folder lacks: add {key}={value}"
            )
    for key, value in others.items():
        if is_swept(key, kept.get(key)) and not is_swept(key, value):
            raise RequestError(f"{key}={value} would drop the jobs of {key}={kept[key]}: give all values")
        if declared(key).role in FIXED and not is_swept(key, kept.get(key)):
            raise RequestError(
                f"resume={folder}: a resumed sweep keeps its settings; for {key}={as_typed(value)}, start a new one"
            )


def _announce(sweep: Sweep, settings: Any) -> None:
    """Print where a cluster's jobs, which have no terminal, are."""
    sweep.logs = Path(settings.launcher.submitit_folder).parent
    jobs = "" if sweep.count is None else f"{sweep.count} {'job' if sweep.count == 1 else 'jobs'} "
    stream = sys.stderr if sweep.is_json else sys.stdout
    print(printable(f"{jobs}in {sweep.folder}, their logs in {sweep.logs}"), file=stream, flush=True)


def _remove_empty_folders(sweep: Sweep) -> None:
    """Remove the folders that a sweep has made and left empty: submitit's, and its own if no job began a run."""
    empty = [sweep.logs / "%j", sweep.logs] if sweep.logs else []
    with contextlib.suppress(OSError):
        if sweep.created and {path.name for path in sweep.created[0].iterdir()} <= {naming.SWEEP, "multirun.yaml"}:
            for path in [*sweep.created[0].iterdir()]:
                path.unlink()
    for path in (*empty, *sweep.created):
        with contextlib.suppress(OSError):  # it is not empty
            path.rmdir()


def launcher(settings: Any) -> str | None:
    """The plugin of the launcher in Hydra's settings, as in "joblib"; None for Hydra's own, one job after another."""
    plugin = re.match(r"hydra_plugins\.hydra_(\w+)_launcher\.", settings.launcher._target_)
    return plugin and plugin[1]


def call_hydra(words: list[str]) -> None:
    """Have Hydra answer its own options, such as --info."""
    sys.argv[1:] = words
    with explained():
        hydra.main(**VERSION, config_path=str(CONF), config_name="train")(lambda _: None)()
