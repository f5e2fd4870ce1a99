"""The scripts' way in: Hydra composes, the schema checks, and what a user can get wrong ends in one line.

This is the one module of the package that knows Hydra.
"""

import difflib
import functools
import io
import logging
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from gpt.config import TRANSLATOR, TrainConfig, explain, flat
from gpt.errors import RequestError, UserError
from gpt.stopping import Stopped

_CONF = Path(__file__).parent.parent / "conf"

# How PyTorch says that memory ran out, on the devices and in the allocators that it has.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "Storage size calculation overflowed")

_verbatim_keys: list[str] = []  # what Hydra did not get to see of the command line

Config = TypeVar("Config", bound=BaseModel)


def main(task: Callable[[Config], None], schema: type[Config], config_name: str, *, verbatim: tuple[str, ...]) -> None:
    """Run `task` with the configuration of conf/<config_name>.yaml and the command line.

    Values of the `verbatim` keys are taken as they are, whatever commas, quotes or brackets they hold, where
    Hydra would read its own grammar into them; in a sweep (-m) the grammar holds for them too.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # a corpus has characters that the terminal's own encoding may lack
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are, instead of printed and exited on
    sweep = bool({"-m", "--multirun"}.intersection(sys.argv))
    sys.argv[1:], texts = (sys.argv[1:], {}) if sweep else _set_aside(sys.argv[1:], verbatim)
    _verbatim_keys.extend(texts)

    composed = False

    def job(config: DictConfig) -> None:
        nonlocal composed
        composed = True
        with _one_line_errors():
            _log_to_console()
            task(schema.model_validate(_resolve(config, texts)))

    with _one_line_errors():
        try:
            hydra.main(version_base="1.3", config_path=str(_CONF), config_name=config_name)(job)()
        except HydraException as error:
            raise RequestError(_explain_composition(error, config_name)) from error
        except ValueError as error:
            if composed or sweep:  # a bug of ours, and not a command line that Hydra refuses
                raise
            raise RequestError(" ".join(str(error).split())) from error


class _JobError(UserError):
    """A job of a sweep failed and said why; Hydra goes on with the others and raises this at the end."""


def is_sweep() -> bool:
    """Whether this is one job of several."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def given_keys() -> list[str]:
    """The keys that the command line gives a value to; a group, such as model, among them."""
    overrides = (override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task)
    return [*overrides, *_verbatim_keys]


def run_folder_place(config: TrainConfig) -> tuple[Path, str]:
    """Where the run's folder belongs, and its name: by date and time, or inside the folder of its sweep."""
    hydra_config = HydraConfig.get()
    name = f"{config.stage}_seed{config.seed}"
    if is_sweep():
        return Path(hydra_config.sweep.dir), f"{hydra_config.job.num:03d}_{name}"
    now = datetime.now()
    return Path(config.runs) / f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}_{name}"


def changes_from_documented(config: TrainConfig) -> list[str]:
    """The hyperparameters, as key=value, in which a run differs from what its stage documents.

    How often is evaluated, and in how many parts a batch is computed, matter by chance at most and do not count.
    """
    stage_file = _CONF / "model" / f"{config.stage}.yaml"
    if not stage_file.is_file() or "stage" in given_keys():
        raise RequestError(f"stage={config.stage} is set by model=NAME; do not set it yourself")
    corpus = "multi30k" if config.stage == TRANSLATOR else "shakespeare"
    data = {"data": OmegaConf.load(_CONF / "data" / f"{corpus}.yaml")}
    documented = OmegaConf.merge(OmegaConf.load(_CONF / "train.yaml"), OmegaConf.load(stage_file), data)
    expected = flat(OmegaConf.to_container(documented))
    compared = {"model", "training", "data", "documented"}
    actual = flat(config.model_dump(by_alias=True, include=compared, exclude_unset=True))
    ignored = {"training.eval_interval", "training.grad_accumulation", "training.on_nonfinite", "data.dir", "data.path"}
    changed = [f"{key}={value}" for key, value in actual.items() if key not in ignored and expected.get(key) != value]
    return [*changed, "dtype=bfloat16"] if config.dtype == "bfloat16" else changed


def _resolve(config: DictConfig, texts: dict[str, str]) -> Any:
    """The configuration as plain dictionaries, with the texts put in and every reference followed."""
    resolved: Any
    keys = flat(OmegaConf.to_container(config))
    for key in texts:
        if key not in keys:
            raise RequestError(_no_such_key(key, keys, HydraConfig.get().runtime.choices))
        OmegaConf.update(config, key, "")  # not missing any more; its text is put in below
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key} is needed: add {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise RequestError(" ".join(str(error).split())) from error
    for key, text in texts.items():
        *groups, name = key.split(".")
        functools.reduce(operator.getitem, groups, resolved)[name] = text
    return resolved


def _set_aside(arguments: list[str], keys: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Split `key=value` arguments with these keys off the others."""
    others, texts = [], {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in keys and value != "null":
            texts[key] = value
        else:
            others.append(argument)
    return others, texts


def _log_to_console() -> None:
    """Show what the package logs: its report on standard output, its warnings on standard error."""
    logger = logging.getLogger("gpt")
    logging.raiseExceptions = False  # a closed terminal or a full disk must not end a run that can go on
    if not logger.handlers:  # a sweep comes here once a job
        report, warnings = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
        report.addFilter(lambda record: record.levelno < logging.WARNING)
        warnings.setLevel(logging.WARNING)
        warnings.setFormatter(logging.Formatter("warning: %(message)s"))
        logger.addHandler(report)
        logger.addHandler(warnings)
        logger.setLevel(logging.INFO)
        logger.propagate = False


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what the user can mend into a line on standard error and an exit code; leave bugs their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except _JobError as error:
        _exit("not every job of the sweep succeeded", error.exit_code)
    except Stopped as error:  # ends a sweep as well: it was not one job that was to stop
        message = str(error)
        if is_sweep():
            message += f"; the sweep: the same command with resume=auto hydra.sweep.dir={HydraConfig.get().sweep.dir}"
        _exit(message, error.exit_code)
    except (UserError, ValidationError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
        message, code = _explain(error)
        if not HydraConfig.initialized() or not is_sweep():
            _exit(message, code)
        job = HydraConfig.get().job
        print(f"error: job {job.num} ({job.override_dirname}): {message}", file=sys.stderr)
        failed = _JobError(message)
        failed.exit_code = code
        raise failed from error


def _exit(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _explain(error: Exception) -> tuple[str, int]:
    """The message and the exit code of an error that the user can mend."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, ValidationError):
        return explain(error), RequestError.exit_code
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}", UserError.exit_code
    return "not enough memory for this: try a smaller model, batch or number of samples", UserError.exit_code


def _explain_composition(error: Exception, config_name: str) -> str:
    """Hydra's complaint about the command line, in one line and with the nearest right name."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} does not exist; {group} can be {', '.join(sorted(error.options))}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} as key=value; quote special characters: key='\"a, b\"'"
    message = " ".join(str(error).split())
    if message.startswith("Ambiguous value"):
        return f"{_between_quotes(message)} has several values: add -m for a sweep"
    if message.startswith(("Could not override", "Key", "Could not delete")):
        return _no_such_key(_between_quotes(message), *_keys_and_choices(config_name))
    return message


def _no_such_key(key: str, keys: Iterable[str], choices: Mapping[str, str | None]) -> str:
    """What to do instead: another choice of the group that has the key, or the nearest right name."""
    if key.startswith("hydra."):
        return f"there is no {key} to set; see Hydra's documentation"
    group, _, name = key.partition(".")
    having = []
    for path in sorted((_CONF / group).glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        if name in content.get(group, content):
            having.append(path.stem)
    if having:
        return f"{group}={choices.get(group)} has no {name} to set; it goes with {group}={' or '.join(having)}"
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    return f"there is no {key} to set; " + (f"did you mean {near[0]}?" if near else "--help shows what there is")


def _between_quotes(message: str) -> str:
    return message.split("'")[1] if "'" in message else message


def _keys_and_choices(config_name: str) -> tuple[list[str], Mapping[str, str | None]]:
    """Every key that can be set with the choices of groups on this command line, the groups, and the choices."""
    groups = [path.name for path in _CONF.iterdir() if path.is_dir()]
    parsed = [OverridesParser.create().parse_override(a) for a in sys.argv[1:] if not a.startswith("-")]
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in groups and not o.is_sweep_override()]
    with hydra.initialize_config_dir(str(_CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(hydra.compose(config_name, chosen, return_hydra_config=True))
    choices = config.pop("hydra")["runtime"]["choices"]
    return [*groups, *flat(config)], choices
