"""Weights & Biases, and trackio, which has the same interface.

wandb sends a run to its server, or keeps it in files that `wandb sync` uploads later; trackio keeps it in a SQLite file
on this machine.
"""

import contextlib
import html
import shutil
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from gpt.base.errors import UserError
from gpt.runs.folder import RunFolder
from gpt.watching.tracker_process import Run
from gpt.watching.trackers import Project, Tracker


class Service:
    """A run of wandb or trackio.

    wandb keeps its files in ./wandb or $WANDB_DIR, where it also reads settings; trackio in $TRACKIO_DIR or its cache.
    """

    def __init__(self, run: Run) -> None:
        self._library = import_module(run.options["library"])
        self._is_wandb = run.options["library"] == "wandb"
        self._first = 0  # the first step that the server lacks
        self._problems: list[str] = []
        self._run, self.address = self._in_wandb(run) if self._is_wandb else self._in_trackio(run)
        self._check()

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Log a step that the server does not have yet."""
        if step >= self._first:
            self._run.log({**values, **self._shown(texts)}, step=step)
        self._check()

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Set wandb's summary, which has no steps and can be replaced; in trackio, log another row of the last step."""
        if self._is_wandb:
            self._run.summary.update({**values, **self._shown(texts)})
        else:
            self.log(step, values, texts)

    def close(self, is_finished: bool) -> None:
        """Wait until everything is sent or written."""
        self._run.finish(**({"exit_code": int(not is_finished)} if self._is_wandb else {}))
        self._check()

    def _in_wandb(self, run: Run) -> tuple[Any, str]:
        """The library's run, and where to view it."""
        wandb = self._library
        try:
            begun = wandb.init(
                id=run.id,
                name=run.name,
                config=run.config,
                project=run.options["project"],
                mode=run.options["mode"],
                resume="allow",
                save_code=False,
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            advice = " Or keep the run here with logger.wandb.mode=offline." if "API key" in str(error) else ""
            raise UserError(f"{error}{advice}") from None
        if begun.offline:
            own = Path(begun.settings.sync_dir)
            for earlier in {*own.parent.glob(f"offline-run-*-{run.id}")} - {own}:
                shutil.rmtree(earlier)  # this process logs all of it again
        self._first = begun.step  # the server cannot delete steps
        return begun, begun.url or f"wandb sync {begun.settings.sync_dir}"

    def _in_trackio(self, run: Run) -> tuple[Any, str]:
        trackio, project = self._library, run.options["project"]
        warnings.showwarning = self._note  # trackio reports its failures as warnings, and continues
        with contextlib.suppress(ValueError):  # The project is new.
            for earlier in trackio.Api().runs(project):
                if earlier.name.rpartition(" ")[2] == run.id:  # The folder may have had another name.
                    earlier.delete()  # this process logs all of it again
        begun = trackio.init(
            project, name=f"{run.name} {run.id}", config=run.config, embed=False, auto_log_cpu=False, auto_log_gpu=False
        )
        return begun, f"trackio show --project {project}"

    def _shown(self, texts: dict[str, str]) -> dict[str, Any]:
        return {name: self._library.Html(f"<pre>{html.escape(text)}</pre>") for name, text in texts.items()}

    def _note(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):  # Other categories, such as deprecations, are about code.
            self._problems.append(str(message))

    def _check(self) -> None:
        if self._problems:
            raise RuntimeError(self._problems[0])


class Wandb(Tracker):
    """A run of Weights & Biases, on its server or offline, or of trackio, on this machine."""

    sink = Service

    def __init__(
        self,
        run: RunFolder,
        library: Literal["wandb", "trackio"],
        project: Project,
        mode: Literal["online", "offline", "disabled", ""] = "online",
    ) -> None:
        super().__init__(run, library=library, project=project, mode=mode or "online")
        self._name, self._is_off = library, mode == "disabled"
