"""A profile of some training steps: conf/debug/profile.yaml."""

import logging
import os
import tempfile
from pathlib import Path

from torch.profiler import profile

from gpt.base.files import try_write
from gpt.config.choices import Count
from gpt.runs.folder import RunFolder
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher

_COSTLIEST = 10
_TRACE, _TABLE = "trace.json.gz", "operators.txt"

log = logging.getLogger(__name__)


class Profile(Watcher):
    """Profiles `steps` steps after skipping `skip` slower ones, in which memory is allocated and kernels are chosen.

    Writes trace.json.gz, for https://ui.perfetto.dev, and operators.txt, a table of the ten costliest operators.
    """

    def __init__(self, run: RunFolder, skip: Count, steps: Count) -> None:
        self._run, self._skip, self._steps = run, skip, steps
        self._taken = 0
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # Keeps PyTorch from printing lines of its own.
        self._profile = profile()
        self._is_running = False

    def stepped(self, trainer: Trainer) -> None:
        """Start or stop profiling, if due."""
        self._taken += 1
        if self._taken == self._skip:
            self._profile.start()
            self._is_running = True
        elif self._taken == self._skip + self._steps:
            self.close()
            processor = "cpu" if trainer.last_batch.device.type == "cpu" else "device"
            if try_write("the profile", lambda: self._write(f"self_{processor}_time_total")):
                log.info(f"profile: {self._run.path / _TRACE} (for https://ui.perfetto.dev), {self._run.path / _TABLE}")

    def close(self) -> None:
        """Stop profiling, and warn if the run ended before the profile was complete."""
        if self._is_running:
            self._profile.stop()
            self._is_running = False
        if self._taken < self._skip + self._steps:
            log.warning(f"no profile was written: it needs {self._skip + self._steps} iterations, not {self._taken}")

    def _write(self, order: str) -> None:
        # The table first: exporting empties the profile of its events.
        table = self._profile.key_averages().table(sort_by=order, row_limit=_COSTLIEST)
        self._run.write(_TABLE, f"{table}\n")
        with tempfile.TemporaryDirectory() as folder:  # PyTorch does not write atomically.
            trace = Path(folder, _TRACE)
            self._profile.export_chrome_trace(str(trace))
            self._run.write(_TRACE, trace.read_bytes())
