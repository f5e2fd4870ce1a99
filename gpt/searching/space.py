"""The space of a search, for Optuna."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import RequestError
from gpt.cli.ranges import Range


def distributions(ranges: dict[str, Range]) -> dict[str, BaseDistribution]:
    """The distribution of each key's values. Raises RequestError for a range that Optuna refuses."""
    return {key: _distribution(key, found) for key, found in ranges.items()}


def _distribution(key: str, found: Range) -> BaseDistribution:
    try:
        if found.values is not None:
            return CategoricalDistribution(found.values)
        if found.step is None:
            return FloatDistribution(found.low, found.high, log=found.is_log)
        return IntDistribution(int(found.low), int(found.high), step=found.step, log=found.is_log)
    except ValueError as error:
        raise RequestError(f"{key}: {' '.join(str(error).split())}") from None
