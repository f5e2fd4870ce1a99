"""Ranges of a search: the settings of train.py, with ranges in place of some values."""

from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser import types
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import RequestError
from gpt.config.command import Command
from gpt.config.command_schemas import StudyConfig
from gpt.config.composing import compose, own_hydra, settings_of_hydra
from gpt.config.explaining import explained
from gpt.config.fields import fields_of
from gpt.config.keys import check_one_length, flat
from gpt.config.schema import TrainConfig
from gpt.config.sweeping import is_swept, parsed
from gpt.config.values import Typed


@dataclass(frozen=True)
class Base:
    """The command that all trials of a search share, and the ranges."""

    command: Command
    config: TrainConfig  # what it composes
    space: dict[str, BaseDistribution]  # of each key to search over
    name: str  # of the experiment or else of the stage, for a folder: search_v6


def split_ranges(command: Command) -> Base:
    """Divide a command of search.py into the values of its trainings, and ranges; an experiment may have ranges too.

    Raises RequestError if there is nothing to search over.
    """
    own = fields_of(StudyConfig)
    settings = {key: value for key, value in command.settings.items() if key not in own}
    for key in settings.keys() & {"resume", "hydra.run.dir"}:
        raise RequestError(f"{key}= is for one run: study=FOLDER names a search, and repeating its command resumes it")
    ranges = {key: value for key, value in settings.items() if is_swept(key, value)}
    fixed = {key: value for key, value in settings.items() if key not in ranges}
    base = replace(command, settings=fixed)
    config, hydra = compose(base), settings_of_hydra(base)
    params = {key: str(value) for key, value in (hydra.sweeper.params or {}).items() if key not in settings}
    with own_hydra(command.foreign), explained():
        overrides = {each.key_or_group: each for each in parsed(params | ranges)}
    base = base.replacing(
        {key: Typed(value) for key, value in params.items() if not overrides[key].is_sweep_override()}
    )
    space = {key: _distribution(each) for key, each in overrides.items() if each.is_sweep_override()}
    if not space:
        raise RequestError("there is nothing to search over: add a range, as in training.batch_size='range(8,65,8)'")
    if "seed" in space:
        raise RequestError("seed: all trials have the same seed; train the best one again with others")
    check_one_length({*settings, *space}, flat(config.content()) | space)
    chosen = hydra.runtime.choices
    name = f"search_{(chosen.get('experiment') or chosen.model).removeprefix('search_')}"
    return Base(replace(base, name="train"), config, space, name)


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
