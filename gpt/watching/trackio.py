"""trackio: a SQLite file on this machine, and a dashboard for it."""

import contextlib
import warnings
from typing import Any

from gpt.runs.folder import RunFolder
from gpt.watching.tracker_process import Run
from gpt.watching.trackers import Project, Tracker


class Database:
    """A trackio run, in $TRACKIO_DIR or trackio's cache."""

    def __init__(self, run: Run) -> None:
        import trackio

        self._problems: list[str] = []
        warnings.showwarning = self._note  # trackio reports its failures as warnings, and continues
        project = run.options["project"]
        self.address = f"trackio show --project {project}"
        with contextlib.suppress(ValueError):  # of a new project
            for earlier in trackio.Api().runs(project):
                if earlier.name.rpartition(" ")[2] == run.id:  # whatever the folder was called then
                    earlier.delete()  # this process logs all of it again
        self._run = trackio.init(
            project, name=f"{run.name} {run.id}", config=run.config, embed=False, auto_log_cpu=False, auto_log_gpu=False
        )
        self._check()

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Log a step, or the results as another row of the last step."""
        from trackio import Markdown

        self._run.log({**values, **{name: Markdown(f"```\n{text}\n```") for name, text in texts.items()}}, step)
        self._check()

    report = log

    def close(self, is_finished: bool) -> None:  # noqa: ARG002
        """Write what is queued."""
        self._run.finish()
        self._check()

    def _note(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):  # others are about code, such as a deprecation in some library
            self._problems.append(str(message))

    def _check(self) -> None:
        if self._problems:
            raise RuntimeError(self._problems[0])


class Trackio(Tracker):
    """A run of trackio, in a SQLite file on this machine."""

    sink, package = Database, "trackio"

    def __init__(self, run: RunFolder, project: Project) -> None:
        super().__init__(run, project=project)
