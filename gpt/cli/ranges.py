"""Ranges of a search: the command line of train.py, with ranges in place of some values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from omegaconf.errors import OmegaConfBaseException

from gpt.base.command_schemas import StudyConfig
from gpt.base.errors import RequestError
from gpt.base.keys import check_one_length, checked_values, flat
from gpt.base.schema import SETTING_FILES, TrainConfig
from gpt.cli import arguments
from gpt.cli.composing import has_sweep, parsed, sweeper_params
from gpt.cli.requesting import composition, explained

_EXAMPLE = "training.learning_rate='tag(log,interval(1e-4,1e-1))'"


@dataclass(frozen=True)
class Range:
    """The range of a hyperparameter: one of `values`, or a number from `low` to `high`."""

    values: Sequence[Any] | None = None  # as they stand on a command line
    low: float = 0.0
    high: float = 0.0
    step: int | None = None  # of whole numbers; None: any number between the two
    is_log: bool = False  # drawn on a logarithmic scale


@dataclass(frozen=True)
class Base:
    """The settings that all trials of a search share, and the ranges."""

    overrides: list[str]  # of every trial, as typed
    config: TrainConfig  # with these
    ranges: dict[str, Range]  # of each key to search over
    seeds: list[int]  # of each trial, whose results are averaged; [] if all have that of `config`
    name: str  # of the experiment or else of the stage, for a folder: search_v6


def divided(training: Sequence[str]) -> Base:
    """Divide a command line of train.py into values and ranges; an experiment may have ranges too.

    Raises RequestError if there is nothing to search over.
    """
    quoted, _ = arguments.quoted(list(training), TrainConfig)
    with explained(quoted):
        typed = parsed(quoted)
    given = {override.key_or_group: override for override in typed}
    if "resume" in given:
        raise RequestError("resume= is for train.py: to continue a search, repeat its command")
    if "hydra.run.dir" in given:
        raise RequestError("hydra.run.dir= is for train.py: study=FOLDER names the folder of a search")
    fixed = [text for text, override in zip(training, typed, strict=True) if not override.is_sweep_override()]
    with composition(fixed, StudyConfig.model_fields) as (_, settings):
        chosen = settings.runtime.choices
    if settings.mode is not None and settings.mode.name == "MULTIRUN":
        raise RequestError(f"experiment={chosen.experiment} is a sweep: for a search, omit its hydra.mode")
    params = sweeper_params(settings)
    with explained(params):
        own = dict(zip(params, parsed(params), strict=True))  # the experiment's
    ranges = {override.key_or_group: override for override in own.values()} | given
    found = {key: _range(override) for key, override in ranges.items() if override.is_sweep_override()}
    fixed = [text for text, x in own.items() if not x.is_sweep_override() and x.key_or_group not in given] + fixed
    for choice in [f"{key}={value}" for key in found.keys() & SETTING_FILES for value in found[key].values or ()]:
        with explained([choice]):
            if has_sweep(choice):
                raise RequestError(f"{choice} has values to try itself, which a trial cannot have: search it alone")
    seeds = _seeds(ranges["seed"]) if found.pop("seed", None) else []
    if len(seeds) == 1:
        fixed, seeds = [*fixed, f"seed={seeds[0]}"], []
    if not found:
        raise RequestError(f"there is nothing to search over: give a key a range, as in {_EXAMPLE}")
    with composition(fixed, StudyConfig.model_fields) as (values, _):
        config = TrainConfig.model_validate(values)
    check_one_length({*given, *found}, flat(config.content()) | found)
    name = f"search_{(chosen.experiment or chosen.model).removeprefix('search_')}"
    return Base(fixed, config, found, seeds, name)


def _seeds(override: Override) -> list[int]:
    """The seeds of each trial, in one order however they are given."""
    typed = list(override.sweep_iterator(Transformer.encode)) if override.is_discrete_sweep() else []
    if not typed:
        raise RequestError("seed: list the seeds of each trial, as in seed=1,2,3")
    return sorted({checked_values(TrainConfig, {"seed": seed})["seed"] for seed in typed})


def _range(override: Override) -> Range:
    try:
        found = _read(override)
    except (ValueError, OmegaConfBaseException):  # range(1,5,0), or an interval in a list
        raise RequestError(f"{override.key_or_group}: give a list, a range or an interval") from None
    if not math.isfinite(found.high - found.low):
        raise RequestError(f"{override.key_or_group}: the interval must have a finite width")
    return found


def _read(override: Override) -> Range:
    value: Any = override.value()
    is_log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        step = 1 if isinstance(value.start, int) else None
        return Range(low=value.start, high=value.end, step=step, is_log=is_log)
    if not override.is_discrete_sweep():
        raise ValueError
    if isinstance(value, RangeSweep) and isinstance(numbers := value.range(), range):
        if not numbers:
            raise RequestError(f"{override.key_or_group}: the range is empty")
        numbers = numbers if numbers.step > 0 else numbers[::-1]
        return Range(low=numbers[0], high=numbers[-1], step=numbers.step, is_log=is_log)
    return Range(values=list(override.sweep_string_iterator()))
