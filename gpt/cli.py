"""The command line of the scripts: Hydra composes the configuration, the schema checks it, and errors become one line.

This is the only module of the package that imports Hydra. It imports no torch, so that --help and completion are quick.
"""

import difflib
import functools
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel

from gpt import arguments, console, stopping
from gpt.config import COMPARED, NOT_COMPARED, Request, TrainConfig, changes, flat
from gpt.errors import RequestError, UserError, printable, report
from gpt.stopping import Stopped

_CONF = Path(__file__).parent.parent / "conf"

# For each group: a key that lands inside the group when a file lacks its package line, and that line.
_PACKAGES = {"model": ("adds", "# @package _global_"), "logger": ("_target_", "# @package logger.NAME")}
_EXTRA_OF_LAUNCHER = {"joblib": "sweep"}  # what has to be installed for hydra/launcher=NAME

_VERSION: Any = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}  # 1.4 has no such argument

Config = TypeVar("Config", bound=BaseModel)


def main(task: Callable[[Config], Any], schema: type[Config], config_name: str, *, verbatim: tuple[str, ...]) -> None:
    """Run `task` with the configuration of conf/<config_name>.yaml and the command line.

    Values of the `verbatim` keys are taken literally, whatever commas, quotes or brackets they contain, where Hydra
    would apply its own grammar; in a sweep (-m) the grammar applies to them too.
    """
    console.open_streams()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, instead of printed by Hydra
    is_sweep = not {"-m", "--multirun"}.isdisjoint(sys.argv)
    if is_sweep and not {"--cfg", "-c", "--info", "-i"}.isdisjoint(sys.argv):
        _exit("--cfg and --info show a single job: remove -m and give each key one value", RequestError.exit_code)
    with _one_line_errors():
        arguments.refuse_hidden(sys.argv[1:], _CONF)
    own = sys.argv[1:] if config_name == "train" else arguments.with_stage(sys.argv[1:])
    sys.argv[1:], texts = arguments.quoted(arguments.with_mode(own, _CONF), () if is_sweep else verbatim)
    is_composed = False
    if is_sweep or "hydra.mode=MULTIRUN" in sys.argv:
        stopping.start_sweep()

    def job(config: DictConfig) -> Any:
        nonlocal is_composed
        is_composed = True
        is_worker = _is_sweep() and "joblib" in HydraConfig.get().launcher._target_  # others have no lasting parent
        with stopping.within_sweep() if is_worker else nullcontext(), _one_line_errors():
            console.show_log()
            return task(schema.model_validate(_resolved(config, texts)))

    with _one_line_errors():
        try:
            hydra.main(**_VERSION, config_path=str(_CONF), config_name=config_name)(job)()
        except HydraException as error:
            raise RequestError(_explain_composition(error, config_name)) from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{mark.name}, line {mark.line + 1}: " if mark else ""
            raise RequestError(f"{where}{error.problem or error.context}") from error
        except (ValueError, TypeError) as error:
            if is_composed:  # raised after composition: a bug, not a bad command line
                raise
            if isinstance(error, TypeError):  # of Hydra's, about the type of a group's value
                raise RequestError("a group takes the name of a file in conf/, as in model=v5") from error
            raise RequestError(f"cannot use this command line: {' '.join(str(error).split())}") from error


class _JobError(UserError):
    """A job of a sweep failed and printed why; Hydra runs the other jobs and raises this at the end."""


def given_keys() -> tuple[str, ...]:
    """The keys that have a value on the command line, groups such as model among them."""
    return tuple(override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task)


def request(config: TrainConfig) -> Request:
    """Where a new run goes: to hydra.run.dir, to the folder of its sweep, or below `runs` by date and time."""
    settings, given, name = HydraConfig.get(), given_keys(), f"{config.stage}_seed{config.seed}"
    if "stage" in given:
        raise RequestError(f"stage={config.stage} is set by model=NAME; do not set it yourself")
    if _is_sweep():
        subdir = settings.sweep.subdir
        folder = Path(settings.sweep.dir) / (f"{settings.job.num:03d}_{name}" if subdir == "." else subdir)
        return Request(folder, is_folder_given=False, sweep=Path(settings.sweep.dir), given=given)
    if settings.run.dir != ".":
        return Request(Path(settings.run.dir), is_folder_given=True, sweep=None, given=given)
    now = datetime.now()
    folder = Path(config.runs) / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}_{name}"
    return Request(folder, is_folder_given=False, sweep=None, given=given)


def changes_from_documented(config: TrainConfig) -> list[str]:
    """The hyperparameters, as key=value, in which a run differs from the documented run of its stage.

    The documented run is `model=STAGE` with nothing else given, from the project's own conf/.
    """
    settings = HydraConfig.get()
    main = next(source.path for source in settings.runtime.config_sources if source.provider == "main")
    foreign = [] if Path(main) == _CONF else [f"--config-path={main}"]
    groups = {key.partition(".")[0] for key in given_keys() if key != "model"}
    may_differ = not groups.isdisjoint({*COMPARED, "dtype", "experiment", "resume"})
    if not (foreign or may_differ or settings.job.config_name != "train"):
        return []  # composing takes 50 ms
    try:
        documented: Any = OmegaConf.to_container(hydra.compose("train", [f"model={config.stage}"]), resolve=True)
    except HydraException:
        raise RequestError(f"model={config.stage} is not in conf/: add the --config-dir that the run had") from None
    before, after = ({key: tree[key] for key in COMPARED} for tree in (documented, config.content()))
    changed = [change for change in changes(before, after) if change.partition("=")[0] not in NOT_COMPARED]
    return [*foreign, *changed, *(["dtype=bfloat16"] if config.dtype == "bfloat16" else [])]


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _resolved(config: DictConfig, texts: Mapping[str, str]) -> Any:
    """The configuration as plain dictionaries, with references resolved and the literal texts inserted."""
    if "training" in config and "model" not in config:
        raise RequestError("model is required: choose one with model=NAME")
    for group, (stray, line) in _PACKAGES.items():
        if stray in (config.get(group) or {}):
            raise RequestError(f"the file of this {group} lacks the line {line!r} at its top")
    try:
        for key in texts:
            OmegaConf.update(config, key, "")  # a literal text is never parsed as a reference or a missing value
        resolved: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key} is required: add {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise RequestError(" ".join(str(error).split())) from error
    for key, text in texts.items():
        *groups, name = key.split(".")
        functools.reduce(operator.getitem, groups, resolved)[name] = text
    return resolved


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Report errors that the user can fix as one line on standard error and an exit code; a bug keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _exit("interrupted", 130, prefix="")
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except _JobError as error:
        _exit("not every job of the sweep succeeded", error.exit_code)
    except Stopped as error:  # ends the sweep too: the signal was not meant for one job
        message = str(error)
        if _is_sweep():
            folder = HydraConfig.get().sweep.dir
            message += f"; to resume the sweep, repeat the command with resume=auto hydra.sweep.dir={folder}"
        _exit(message, error.exit_code, prefix="")
    except Exception as error:
        reported = report(error)
        if reported is None:
            raise
        message, code = reported
        if not _is_sweep():
            _exit(message, code)
        job = HydraConfig.get().job
        print(printable(f"error: job {job.num} ({job.override_dirname}): {message}"), file=sys.stderr)
        failed = _JobError(message)
        failed.exit_code = code
        raise failed from error


def _exit(message: str, code: int, *, prefix: str = "error: ") -> NoReturn:
    print(f"{prefix}{printable(message)}", file=sys.stderr)
    sys.exit(code)


def _explain_composition(error: Exception, config_name: str) -> str:
    """Hydra's complaint about the command line, in one line that names the nearest valid choice."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and name in _EXTRA_OF_LAUNCHER:
            return f"hydra/launcher={name} is not installed: pip install -e '.[{_EXTRA_OF_LAUNCHER[name]}]'"
        return f"{group}={name} does not exist; {group} can be {', '.join(sorted(error.options))}"
    if "@experiment." in str(error):
        return "the file of this experiment lacks the line '# @package _global_' at its top"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} as key=value; quote special characters: key='\"a, b\"'"
    message = " ".join(str(error).split())
    key = message.split("'")[1] if "'" in message else message
    if message.startswith("Ambiguous value"):
        return f"{key} has several values: add -m for a sweep"
    if message.startswith(("Could not override", "Key", "Could not delete")):
        return _no_such_key(key, *_keys_and_choices(config_name))
    return message


def _no_such_key(key: str, keys: Iterable[str], choices: Mapping[str, str | None]) -> str:
    """An error line for an unknown key: which choices of its group have it, or the nearest valid key."""
    if key.startswith("hydra."):
        return f"unknown key {key}; see Hydra's documentation"
    group, _, name = key.partition(".")
    having = []
    for path in sorted((_CONF / group).glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        if name in content.get(group, content):
            having.append(path.stem)
    if having:
        return f"{group}={choices.get(group)} has no key {name}; it is a key of {group}={', '.join(having)}"
    if key in choices:
        return f"{key} needs the name of a file in conf/{key}/, as in {key}={choices[key] or 'NAME'}"
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    return f"unknown key {key}; " + (f"did you mean {near[0]}?" if near else "--help lists the keys")


def _keys_and_choices(config_name: str) -> tuple[list[str], Mapping[str, str | None]]:
    """The groups and every key that can be set with this command line's choices; and the choice for each group."""
    groups = [path.name for path in _CONF.iterdir() if path.is_dir() and config_name == "train"]
    parsed = [OverridesParser.create().parse_override(a) for a in sys.argv[1:] if not a.startswith("-")]
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in groups and not o.is_sweep_override()]
    with hydra.initialize_config_dir(str(_CONF), **_VERSION):
        try:
            composed = hydra.compose(config_name, chosen, return_hydra_config=True)
        except HydraException:  # a choice from the user's own --config-dir
            composed = hydra.compose(config_name, return_hydra_config=True)
    content: Any = OmegaConf.to_container(composed)
    choices = content.pop("hydra")["runtime"]["choices"]
    return [*groups, *flat(content)], choices
