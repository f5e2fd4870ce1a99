"""All jobs of a sweep are checked before the first one trains."""

import itertools
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gpt.base.errors import report
from gpt.cli import requests
from gpt.cli.sweeps import Refusal, overrides_of_jobs

_MOST = 100  # jobs: each takes a twentieth of a second


class CheckCallback(Callback):
    """Refuse a sweep that has a job with a wrong value; a Hydra callback named in conf/train.yaml."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        given = overrides_of_jobs(config.hydra) or {}
        for job in itertools.islice(itertools.product(*map(_values, given.values())), _MOST):
            try:
                requests.of_overrides(job)
            except Exception as error:
                reported = report(error)
                if reported is None:  # the job will say more
                    return
                swept = (override.is_discrete_sweep() for override in given.values())
                own = " ".join(itertools.compress(job, swept))
                raise Refusal(f"nothing was trained, because of the job {own}: {reported[0]}") from None


def _values(override: Override) -> list[str]:
    """The override with each of its values."""
    if not override.is_discrete_sweep():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
