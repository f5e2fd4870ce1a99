"""The job that Hydra runs: whether it is one of a sweep, what it was given, and its request."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.typed import expanded
from gpt.cli.sweeps import Sweep
from gpt.config.override import Override
from gpt.config.request import Destination, Request
from gpt.config.requesting import command_line, request_of
from gpt.config.schema import TrainConfig


def is_sweep() -> bool:
    """Whether this process runs a sweep, or a job of one."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def job_overrides() -> list[Override]:
    """The overrides of the current job; a reference in one, which may be meant as text, is not resolved."""
    words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    return [Override.parse(str(word)) for word in words]


def job_title(sweep: Sweep) -> str:
    """The line that names the current job of a sweep."""
    return sweep.title(HydraConfig.get().job.num, job_overrides())


def request_of_job(
    config_name: str, typed: Sequence[str], config: BaseModel, swept: tuple[str, ...], rest: tuple[Override, ...] = ()
) -> Request:
    """The request of the current job: `typed` is the command line, `config` is what it says.

    `swept` are the keys that differ between the jobs. A new run goes to hydra.run.dir, to the folder of its sweep, or
    below `runs` by date and time.
    """
    settings, overrides = HydraConfig.get(), job_overrides()
    # Each job composes anew on a cluster or in a worker, for which a --config-dir must be repeated.
    folders = [source.path for source in settings.runtime.config_sources if source.provider == "command-line"]
    request = replace(request_of(config, settings, overrides, folders), rest=rest)
    if isinstance(config, TrainConfig) and "stage" in request.given:
        raise RequestError(f"stage={config.stage} is set by model=NAME; do not set it yourself")
    if not is_sweep():
        return replace(request, command=command_line(config_name, typed))
    sweep, subdir = Path(expanded(settings.sweep.dir)), settings.sweep.subdir
    destination = Destination(
        Path(getattr(config, "runs", ".")),
        sweep,
        f"{settings.job.num:03d}_",
        None if subdir == "." else sweep / subdir,
        sweep,
        swept,
    )
    command = command_line(config_name, [*request.options, *map(str, overrides)])
    return replace(request, command=command, destination=destination)
