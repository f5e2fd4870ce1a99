"""What Hydra calls in a sweep: all jobs are checked before the first one trains."""

import contextlib
import itertools
from typing import Any, ClassVar

from hydra.core.override_parser import types
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from gpt.base.errors import report
from gpt.cli import sweeps
from gpt.config.choices import validated
from gpt.config.composing import settings_with
from gpt.config.override import Override
from gpt.config.requesting import of_overrides
from gpt.config.schema import SETTING_FILES, Label

_MOST = 100  # jobs that are checked: each takes a twentieth of a second


class SweepCallback(Callback):
    """Begin a sweep, or refuse one that has a job with a wrong value; named in conf/train.yaml."""

    sweep: ClassVar[sweeps.Sweep]  # the one that the present command begins

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        self.sweep.is_json = config.get("json") is True
        given = sweeps.begin(self.sweep, config.hydra, str(config.runs))
        for choice in [choice for each in given if each.key_or_group in SETTING_FILES for choice in _swept(each)]:
            with contextlib.suppress(HydraException, ValueError):  # the job will say more
                settings = settings_with(choice)
                if settings.mode == RunMode.MULTIRUN or settings.sweeper.params:
                    raise sweeps.Refusal(f"{choice} is a sweep itself: start it alone")
        values = [_swept(each) or [str(each.input_line)] for each in given]
        for job in itertools.islice(itertools.product(*values), _MOST):
            try:
                trained = of_overrides([*map(Override.parse, job)])[0]
                validated(Label | None, self.sweep.name(trained.name, self.sweep.jobs or 1), "name")
            except Exception as error:
                reported = report(error)
                if reported is None:  # the job will say more
                    return
                own = " ".join(itertools.compress(job, (override.is_discrete_sweep() for override in given)))
                which = f" because of the job {own}" if own else ""
                raise sweeps.Refusal(f"nothing was trained,{which}: {reported[0]}") from None


def _swept(override: types.Override) -> list[str]:
    """The override with each value that is swept over."""
    values = override.sweep_string_iterator() if override.is_discrete_sweep() else ()
    return [f"{override.get_key_element()}={value}" for value in values]
