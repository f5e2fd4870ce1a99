"""What Hydra calls in a sweep: all jobs are checked before the first one trains."""

import contextlib
import itertools
from typing import Any

from hydra.core.override_parser import types
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from gpt.base.errors import report
from gpt.cli import sweeps
from gpt.config.composing import settings_with
from gpt.config.override import Override
from gpt.config.requesting import of_overrides
from gpt.config.schema import SETTING_FILES

_MOST = 100  # jobs that are checked: each takes a twentieth of a second


class _Failed(JobReturn):
    """The result of a failed job, whose error has been printed: Hydra's own would print the command line as well."""

    @property  # type: ignore[misc]  # that of a failed job is never set
    def return_value(self) -> Any:
        raise self._return_value


class SweepCallback(Callback):
    """Begin a sweep, or refuse one that has a job with a wrong value; named in conf/train.yaml."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        given = sweeps.begin(config.hydra, str(config.runs), as_json=config.get("json") is True)
        for choice in [choice for each in given if each.key_or_group in SETTING_FILES for choice in _swept(each)]:
            with contextlib.suppress(HydraException, ValueError):  # the job will say more
                settings = settings_with(choice)
                if settings.mode == RunMode.MULTIRUN or settings.sweeper.params:
                    raise sweeps.Refusal(f"{choice} is a sweep itself: start it alone")
        values = [_swept(each) or [str(each.input_line)] for each in given]
        for job in itertools.islice(itertools.product(*values), _MOST):
            try:
                of_overrides([*map(Override.parse, job)])
            except Exception as error:
                reported = report(error)
                if reported is None:  # the job will say more
                    return
                own = " ".join(itertools.compress(job, (override.is_discrete_sweep() for override in given)))
                which = f" because of the job {own}" if own else ""
                raise sweeps.Refusal(f"nothing was trained,{which}: {reported[0]}") from None

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:  # noqa: ARG002
        """After each job, in its process."""
        if job_return.status == JobStatus.FAILED:
            job_return.__class__ = _Failed


def _swept(override: types.Override) -> list[str]:
    """The override with each value that is swept over."""
    values = override.sweep_string_iterator() if override.is_discrete_sweep() else ()
    return [f"{override.get_key_element()}={value}" for value in values]
