"""All jobs of a sweep are checked before the first one trains."""

import itertools
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gpt.base.errors import report
from gpt.cli import requests
from gpt.cli.composing import parsed, sweeper_params
from gpt.cli.sweeps import Refusal

_MOST = 100  # jobs: each takes a twentieth of a second


class CheckCallback(Callback):
    """Refuse a sweep that has a job with a wrong value; a Hydra callback named in conf/train.yaml."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        settings = config.hydra
        if not settings.sweeper._target_.endswith("BasicSweeper"):  # others choose each job after the previous one
            return
        given = {override.key_or_group: override for override in parsed([*sweeper_params(settings)])}
        given |= {override.key_or_group: override for override in parsed([*settings.overrides.task])}
        for job in itertools.islice(itertools.product(*map(_values, given.values())), _MOST):
            try:
                requests.of_overrides(job)
            except Exception as error:
                reported = report(error)
                if reported is None:  # the job will say more
                    return
                own = " ".join(word for word, override in zip(job, given.values(), strict=True) if _is_swept(override))
                raise Refusal(f"nothing was trained, because of the job {own}: {reported[0]}") from None


def _values(override: Override) -> list[str]:
    """The override with each of its values."""
    if not _is_swept(override):
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _is_swept(override: Override) -> bool:
    return override.is_discrete_sweep()
