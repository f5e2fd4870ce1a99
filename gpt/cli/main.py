"""The command line of the scripts: Hydra composes the configuration, the schema checks it, and errors become one line.

This package is all that imports Hydra. It imports no torch, so that --help and completion are quick.
"""

import functools
import logging
import operator
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel

from gpt import console, stopping
from gpt.cli import arguments, help, sweeps  # noqa: A004
from gpt.cli.composing import CONF, VERSION
from gpt.cli.explanations import PACKAGES, explain_composition, explain_launch
from gpt.config import COMPARED, NOT_COMPARED, Request, TrainConfig, changes
from gpt.errors import RequestError, UserError, printable, report
from gpt.stopping import Stopped

Config = TypeVar("Config", bound=BaseModel)

log = logging.getLogger("gpt")

typed: list[str] = []  # the command line as the user typed it
for_training: list[str] = []  # what search.py takes from it for train.py


def main(task: Callable[[Config], Any], schema: type[Config], config_name: str, *, verbatim: tuple[str, ...]) -> None:
    """Run `task` with the configuration of conf/<config_name>.yaml and the command line.

    Values of the `verbatim` keys are taken literally, whatever commas, quotes or brackets they contain, where Hydra
    would apply its own grammar; in a sweep (-m) the grammar applies to them too.
    """
    console.open_streams()
    typed[:] = sys.argv[1:]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, instead of printed by Hydra
    is_sweep = not {"-m", "--multirun"}.isdisjoint(sys.argv)
    if is_sweep and not {"--cfg", "-c", "--info", "-i"}.isdisjoint(sys.argv):
        _exit("--cfg and --info show a single job: remove -m and give each key one value", RequestError.exit_code)
    with _one_line_errors():
        if not {"-h", "--help"}.isdisjoint(sys.argv):
            help.show(config_name, schema)
        sys.argv[1:] = arguments.options_first(sys.argv[1:])
        arguments.refuse_hidden(sys.argv[1:], CONF)
    own = sys.argv[1:] if config_name == "train" else arguments.with_stage(sys.argv[1:])
    if config_name == "search":
        own, for_training[:] = arguments.divided(sys.argv[1:], schema.model_fields)
    sys.argv[1:], texts = arguments.quoted(arguments.with_mode(own, CONF), () if is_sweep else verbatim)
    is_composed = False
    if is_sweep or "hydra.mode=MULTIRUN" in sys.argv:
        stopping.start_sweep()

    def job(config: DictConfig) -> Any:
        nonlocal is_composed
        is_composed = True
        launcher = sweeps.launcher(HydraConfig.get()) if _is_sweep() else None
        worker = stopping.within_sweep() if launcher == "joblib" else nullcontext()  # others have no lasting parent
        with worker, _one_line_errors(), stopping.requeued():
            side_by_side = launcher in ("joblib", "ray")
            console.show_log(f"[{HydraConfig.get().job.num + 1}] " if side_by_side else "")
            if _is_sweep():
                log.info(_job_title())
            values = resolved(config, texts)
            if launcher == "submitit" and "resume" in values:  # a requeued job has the command line of the first time
                values["resume"] = values["resume"] or "auto"
            return task(schema.model_validate(values))

    with _one_line_errors():
        try:
            hydra.main(**VERSION, config_path=str(CONF), config_name=config_name)(job)()
            sweeps.print_comparison()
        except _JobError:
            sweeps.print_comparison()
            raise
        except HydraException as error:
            raise RequestError(explain_composition(error, config_name, sys.argv[1:])) from error
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
        except Exception as error:
            explanation = explain_launch(error)
            if explanation is None:
                raise
            raise UserError(explanation) from error


class _JobError(UserError):
    """A job of a sweep failed and printed why; Hydra runs the other jobs and raises this at the end."""


def given_keys() -> tuple[str, ...]:
    """The keys that have a value on the command line, groups such as model among them."""
    return tuple(override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task)


def config_dirs() -> list[str]:
    """The option --config-dir, if it was given: a command that is to compose the same has to repeat it."""
    sources = HydraConfig.get().runtime.config_sources
    return [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]


def request(config: TrainConfig) -> Request:
    """Where a new run goes: to hydra.run.dir, to the folder of its sweep, or below `runs` by date and time."""
    settings, given = HydraConfig.get(), given_keys()
    words = [*config_dirs(), *settings.overrides.task] if _is_sweep() else typed  # of a sweep, the job's own
    command = printable(f"{console.command('train')} {shlex.join(words)}")
    if "stage" in given:
        raise RequestError(f"stage={config.stage} is set by model=NAME; do not set it yourself")
    folder, sweep, now = None, None, datetime.now()
    parent, prefix = Path(config.runs) / f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}_"
    if _is_sweep():
        parent = sweep = Path(settings.sweep.dir)
        subdir = settings.sweep.subdir
        prefix, folder = f"{settings.job.num:03d}_", None if subdir == "." else sweep / subdir
    elif settings.run.dir != ".":
        folder = Path(settings.run.dir)
    return Request(parent, prefix, folder, sweep, sweeps.swept_keys(), given, command)


def changes_from_documented(config: TrainConfig) -> list[str]:
    """The hyperparameters, as key=value, in which a run differs from the documented run of its stage.

    The documented run is `model=STAGE` with nothing else given, from the project's own conf/.
    """
    settings = HydraConfig.get()
    main = next(source.path for source in settings.runtime.config_sources if source.provider == "main")
    foreign = [] if Path(main) == CONF else [f"--config-path={main}"]
    groups = {key.partition(".")[0] for key in given_keys() if key != "model"}
    may_differ = not groups.isdisjoint({*COMPARED, "dtype", "experiment", "debug", "resume", "init", "overfit"})
    if not (foreign or may_differ or settings.job.config_name != "train"):
        return []  # composing takes 50 ms
    try:
        documented: Any = OmegaConf.to_container(hydra.compose("train", [f"model={config.stage}"]), resolve=True)
    except HydraException:
        raise RequestError(f"model={config.stage} is not in conf/: add the --config-dir that the run had") from None
    before, after = ({key: tree[key] for key in COMPARED} for tree in (documented, config.content()))
    changed = [change for change in changes(before, after) if change.partition("=")[0] not in NOT_COMPARED]
    others = ["dtype=bfloat16"] if config.dtype == "bfloat16" else []
    others += [f"overfit={config.overfit}"] if config.overfit is not None else []
    return [*foreign, *([f"init={config.init}"] if config.init else []), *changed, *others]


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _job_title() -> str:
    return sweeps.title(HydraConfig.get().job.num, list(HydraConfig.get().overrides.task))


def resolved(config: DictConfig, texts: Mapping[str, str]) -> Any:
    """The configuration as plain dictionaries, with references resolved and the literal texts inserted."""
    if "training" in config and "model" not in config:
        raise RequestError("model is required: choose one with model=NAME")
    for group, (stray, line) in PACKAGES.items():
        if stray in (config.get(group) or {}):
            raise RequestError(f"the file of this {group} lacks the line {line!r} at its top")
    try:
        for key in texts:
            OmegaConf.update(config, key, "")  # a literal text is never parsed as a reference or a missing value
        resolved: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key} is required: add {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        reason = (
            str(error).partition("\n")[0].replace("Interpolation key", "there is no key").removesuffix(" not found")
        )
        raise RequestError(f"{error.full_key}: {reason}") from error
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
        logs = sweeps.logs()  # which have the error lines, if this terminal has not
        _exit("not every job of the sweep succeeded" + (f": {error}; logs in {logs}" if logs else ""), error.exit_code)
    except Stopped as error:  # ends the sweep too: the signal was not meant for one job
        message = str(error)
        if _is_sweep():
            folder = shlex.quote(HydraConfig.get().sweep.dir)
            message += f"; to resume the sweep, repeat the command with resume=auto hydra.sweep.dir={folder}"
        _exit(message, error.exit_code, prefix="")
    except Exception as error:
        reported = report(error)
        if reported is None:
            raise
        message, code = reported
        if not _is_sweep():
            _exit(message, code)
        failed = _JobError(f"{_job_title()}: {message}")
        print(console.in_red(printable(f"error: {failed}"), sys.stderr), file=sys.stderr)
        failed.exit_code = code
        raise failed from error


def _exit(message: str, code: int, *, prefix: str = "error: ") -> NoReturn:
    line = f"{prefix}{printable(message)}"
    # In a single write, because processes that torchrun started end at the same moment.
    print(f"{console.in_red(line, sys.stderr) if prefix else line}\n", end="", file=sys.stderr)
    sys.exit(code)
