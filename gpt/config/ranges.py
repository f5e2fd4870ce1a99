"""Ranges of a search: the command line of train.py, with ranges in place of some values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser import types
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import RequestError
from gpt.config.command_schemas import StudyConfig
from gpt.config.composing import parsed, sweeper_params
from gpt.config.grammar import quoted
from gpt.config.keys import check_one_length, flat
from gpt.config.override import Override
from gpt.config.requesting import composition, explained
from gpt.config.schema import TrainConfig


@dataclass(frozen=True)
class Base:
    """The settings that all trials of a search share, and the ranges."""

    overrides: list[Override]  # of every trial, as typed
    config: TrainConfig  # with the settings
    space: dict[str, BaseDistribution]  # of each key to search over
    name: str  # of the experiment or else of the stage, for a folder: search_v6


def divided(training: Sequence[Override]) -> Base:
    """Divide a command line of train.py into values and ranges; an experiment may have ranges too.

    Raises RequestError if there is nothing to search over.
    """
    made, _ = quoted(training, TrainConfig)
    with explained(made):
        typed = dict(zip(training, parsed(made), strict=True))
    given = {override.key_or_group for override in typed.values()}
    for key in given & {"resume", "hydra.run.dir"}:
        raise RequestError(f"{key}= is for one run: study=FOLDER names a search, and repeating its command resumes it")
    fixed = [each for each, override in typed.items() if not override.is_sweep_override()]
    with composition(fixed, StudyConfig.model_fields) as (values, settings):
        config, chosen = TrainConfig.model_validate(values), settings.runtime.choices
    params = sweeper_params(settings)
    with explained(params):
        of_experiment = dict(zip(params, parsed(params), strict=True))
    typed = {each: override for each, override in of_experiment.items() if override.key_or_group not in given} | typed
    fixed = [each for each, override in typed.items() if not override.is_sweep_override()]
    space = {each.key_or_group: _distribution(each) for each in typed.values() if each.is_sweep_override()}
    if not space:
        raise RequestError("there is nothing to search over: add a range, as in training.batch_size='range(8,65,8)'")
    if "seed" in space:
        raise RequestError("seed: all trials have the same seed; train the best one again with others")
    check_one_length({*given, *space}, flat(config.content()) | space)
    name = f"search_{(chosen.experiment or chosen.model).removeprefix('search_')}"
    return Base(fixed, config, space, name)


def _distribution(override: types.Override) -> BaseDistribution:
    """The distribution of a key's values; those of a list stay as typed. Raises RequestError if Optuna refuses it."""
    value: Any = override.value()
    try:
        is_log = "log" in value.tags
        if isinstance(value, IntervalSweep):
            kind = IntDistribution if isinstance(value.start, int) else FloatDistribution
            return kind(value.start, value.end, log=is_log)
        if isinstance(value, RangeSweep) and isinstance(numbers := value.range(), range):
            return IntDistribution(min(numbers), max(numbers), step=abs(numbers.step), log=is_log)
        return CategoricalDistribution([*override.sweep_string_iterator()])
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"{override.key_or_group}: give a list, a range or an interval: {reason}") from None
