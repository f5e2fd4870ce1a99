"""The command line of a search: that of train.py, with ranges in place of some values."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gpt.cli import arguments
from gpt.cli.composing import parsed, sweeper_params
from gpt.cli.explanations import explain_composition
from gpt.cli.main import config_dirs, for_training, resolved, typed
from gpt.config import StudyConfig, TrainConfig
from gpt.errors import RequestError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_EXAMPLE = "training.learning_rate='tag(log,interval(1e-4,1e-1))'"


@dataclass(frozen=True)
class Base:
    """What all trials of a search have in common, and what differs."""

    options: list[str]  # of Hydra: where other configurations are
    overrides: list[str]  # of every trial, as typed
    config: TrainConfig  # with these
    space: "dict[str, BaseDistribution]"  # of each key to search over
    name: str  # of the experiment or else of the stage, for a folder: search_v6


def search_base(verbatim: tuple[str, ...]) -> Base:
    """Divide the keys of train.py on a command line into values and ranges; an experiment may have ranges too.

    Raises RequestError if there is nothing to search over.
    """
    training = list(for_training)
    quoted, _ = arguments.quoted(training, verbatim)
    with _explained(quoted):
        typed_overrides = parsed(quoted)
    given = {override.key_or_group: override for override in typed_overrides}
    if "resume" in given:
        raise RequestError("resume= is for train.py: a search continues when its command is repeated")
    fixed = [text for text, override in zip(training, typed_overrides, strict=True) if not override.is_sweep_override()]
    with _composed(fixed, verbatim) as (_, settings):
        pass
    if settings.mode is not None and settings.mode.name == "MULTIRUN":
        raise RequestError(
            f"experiment={settings.runtime.choices.experiment} is a sweep: for a search, omit its hydra.mode"
        )
    params = sweeper_params(settings)
    with _explained(params):
        own = dict(zip(params, parsed(params), strict=True))  # the experiment's
    ranges = {override.key_or_group: override for override in own.values()} | given
    space = {key: _distribution(override) for key, override in ranges.items() if override.is_sweep_override()}
    fixed = [text for text, x in own.items() if not x.is_sweep_override() and x.key_or_group not in given] + fixed
    if not space:
        raise RequestError(f"there is nothing to search over: give a key a range, as in {_EXAMPLE}")
    with _composed(fixed, verbatim) as (config, _):
        pass
    chosen = settings.runtime.choices
    name = f"search_{(chosen.experiment or chosen.model).removeprefix('search_')}"
    return Base(config_dirs(), fixed, config, space, name)


def run_trial(
    train: Callable[[TrainConfig, list[Any]], float],
    base: Base,
    overrides: list[str],
    verbatim: tuple[str, ...],
    watcher: Any,
) -> float:
    """Call `train`, the main function of train.py, as `python train.py OVERRIDES` does, with one more watcher.

    The overrides are those of the trial alone. Raises RequestError if they do not fit those of `base`.
    """
    with _composed([*base.overrides, *overrides], verbatim) as (config, _):
        typed[:] = [*base.options, *base.overrides, *overrides]
        return train(config, [watcher])


@contextmanager
def _composed(overrides: list[str], verbatim: tuple[str, ...]) -> Iterator[tuple[TrainConfig, Any]]:
    """The configuration of train.py with these overrides, and Hydra's settings, which are those of the job inside."""
    quoted, texts = arguments.quoted(overrides, (*verbatim, "hydra.run.dir"))
    texts.pop("hydra.run.dir", None)
    with _explained(quoted):
        tree = hydra.compose("train", quoted, return_hydra_config=True)
    job = HydraConfig.instance()
    before = job.cfg
    job.set_config(tree)
    settings = tree.hydra
    OmegaConf.set_struct(tree, False)
    del tree["hydra"]
    try:
        yield TrainConfig.model_validate(resolved(tree, texts)), settings
    finally:
        job.cfg = before


@contextmanager
def _explained(overrides: list[str]) -> Iterator[None]:
    """Turn Hydra's complaints about these overrides of train.py into one line."""
    try:
        yield
    except HydraException as error:
        singleton = GlobalHydra.instance()
        current = singleton.hydra
        singleton.clear()  # the explanation composes on its own
        try:
            raise RequestError(explain_composition(error, "train", overrides, StudyConfig.model_fields)) from error
        finally:
            singleton.hydra = current


def _distribution(override: Override) -> "BaseDistribution":
    """What Optuna draws a value from; of a list, the values as they stand on a command line."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    key, is_log = override.key_or_group, "log" in getattr(value, "tags", ())
    try:
        if isinstance(value, IntervalSweep):
            kind = IntDistribution if isinstance(value.start, int) else FloatDistribution
            return kind(value.start, value.end, log=is_log)
        if not override.is_discrete_sweep():
            raise RequestError(f"{key}: give a list, a range or an interval")
        if isinstance(value, RangeSweep) and isinstance(numbers := value.range(), range):
            return IntDistribution(numbers[0], numbers[-1], step=numbers.step, log=is_log)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise RequestError(f"{key}: {' '.join(str(error).split())}") from None
