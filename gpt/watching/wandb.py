"""Weights & Biases: on its server, or offline in files that `wandb sync` uploads later."""

import html
import shutil
from pathlib import Path
from typing import Any, Literal

from gpt.base.errors import UserError
from gpt.runs.folder import RunFolder
from gpt.watching.tracker_process import Run
from gpt.watching.trackers import Project, Tracker


class Service:
    """A wandb run.

    Its files are in wandb's own folder, ./wandb or $WANDB_DIR, because wandb also reads settings there.
    """

    def __init__(self, run: Run) -> None:
        import wandb

        try:
            self._run = wandb.init(
                id=run.id, name=run.name, config=run.config, resume="allow", save_code=False,
                settings=wandb.Settings(console="off", silent=True), **run.options,
            )  # fmt: skip
        except wandb.Error as error:
            advice = " Or keep the run here with logger.wandb.mode=offline." if "API key" in str(error) else ""
            raise UserError(f"{error}{advice}") from None
        self.address = self._run.url or f"wandb sync {self._run.settings.sync_dir}"
        if self._run.offline:
            own = Path(self._run.settings.sync_dir)
            for earlier in {*own.parent.glob(f"offline-run-*-{run.id}")} - {own}:
                shutil.rmtree(earlier)  # this process logs all of it again
        self._first = self._run.step  # the first step that the server lacks; it cannot delete any

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Log a step that the server does not have yet."""
        if step >= self._first:
            self._run.log({**values, **_shown(texts)}, step=step)

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:  # noqa: ARG002
        """Set the summary, which has no steps and can be replaced."""
        self._run.summary.update({**values, **_shown(texts)})

    def close(self, is_finished: bool) -> None:
        """Wait until everything is sent."""
        self._run.finish(exit_code=0 if is_finished else 1)


def _shown(texts: dict[str, str]) -> dict[str, Any]:
    from wandb import Html

    return {name: Html(f"<pre>{html.escape(text)}</pre>") for name, text in texts.items()}


class Wandb(Tracker):
    """A run of Weights & Biases, on its server or offline."""

    sink, package = Service, "wandb"

    def __init__(self, run: RunFolder, project: Project, mode: Literal["online", "offline"]) -> None:
        super().__init__(run, project=project, mode=mode)
