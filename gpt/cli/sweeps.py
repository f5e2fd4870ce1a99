"""Sweeps: how many jobs there are, what each of them is, and how they compare at the end."""

import math
import os
import shlex
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gpt.console import command

# In the environment, which worker processes inherit.
_JOBS, _KEYS, _FOLDER = "GPT_SWEEP_JOBS", "GPT_SWEEP_KEYS", "GPT_SWEEP_FOLDER"


class SweepCallback(Callback):
    """Notes the size and the folder of a sweep; conf/train.yaml names this class."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        settings = config.hydra
        os.environ[_FOLDER] = str(settings.sweep.dir)
        if settings.sweeper._target_.endswith("BasicSweeper"):  # others decide on the next job after the last
            fixed = [f"{key}={value}" for key, value in (settings.sweeper.params or {}).items()]
            counts = {
                override.key_or_group: sum(1 for _ in override.sweep_string_iterator())
                for override in OverridesParser.create().parse_overrides([*fixed, *settings.overrides.task])
                if override.is_sweep_override()
            }
            os.environ |= {_JOBS: str(math.prod(counts.values())), _KEYS: " ".join(counts)}


def title(number: int, overrides: list[str]) -> str:
    """A line for job `number`, counted from 0, with its swept values: "job 3 of 8: learning_rate=0.001 seed=1"."""
    total = f" of {os.environ[_JOBS]}" if _JOBS in os.environ else ""
    swept = os.environ.get(_KEYS, "").split()
    values = [override.partition("=") for override in overrides]
    own = [f"{key.rpartition('.')[2]}={value}" for key, _, value in values if not swept or key in swept]
    return f"job {number + 1}{total}: {' '.join(own)}"


def print_ranking() -> None:
    """After a sweep, print its finished jobs, the best first, unless there are fewer than two."""
    from gpt.runs.finding import finished_runs
    from gpt.runs.grouping import rankings
    from gpt.runs.tables import table

    folder = os.environ.get(_FOLDER)
    if folder is None or len(list(Path(folder).glob("*/summary.json"))) < 2:
        return
    for ranking in rankings(finished_runs(Path(folder)), "exact"):
        print(f"\n{table(ranking, 'exact', 'simple')}")
    print(f"\nmore of it, and pictures: {command('compare')} runs={shlex.quote(folder)}")
