"""Weights & Biases: a run on its server, or in files that `wandb sync` uploads later.

wandb keeps its files in ./wandb or $WANDB_DIR, where it also reads settings.
"""

import html
import shutil
from pathlib import Path
from typing import Literal

from gpt.base.errors import UserError
from gpt.runs.folder import RunFolder
from gpt.watching.trackers import Project, Tracker


class Wandb(Tracker):
    """A run of Weights & Biases, which is continued by its id."""

    package = "wandb"

    def __init__(
        self, run: RunFolder, project: Project, mode: Literal["online", "offline", "disabled", ""] = "online"
    ) -> None:
        super().__init__(run)
        self._project, self._mode, self.is_off = project, mode or "online", mode == "disabled"

    def open(self) -> str:
        """Begin or continue the run. Raises UserError if wandb refuses."""
        import wandb

        tracking_id = self.run.tracking_id()
        try:
            self._tracked = wandb.init(
                id=tracking_id,
                name=self.run.path.name,
                config=self.run.config().content(),
                project=self._project,
                mode=self._mode,
                resume="allow",
                save_code=False,
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            advice = " Or keep the run here with logger.wandb.mode=offline." if "API key" in str(error) else ""
            raise UserError(f"{error}{advice}") from None
        if self._tracked.offline:
            own = Path(self._tracked.settings.sync_dir)
            for earlier in {*own.parent.glob(f"offline-run-*-{tracking_id}")} - {own}:
                shutil.rmtree(earlier)  # all of it is logged again
        self._first = self._tracked.step  # that the server lacks; it cannot delete steps
        return self._tracked.url or f"wandb sync {self._tracked.settings.sync_dir}"

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Log a step that the server does not have yet."""
        if step >= self._first:
            self._tracked.log({**values, **_as_html(texts)}, step=step)

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:  # noqa: ARG002
        """Set the summary, which has no steps and can be replaced."""
        self._tracked.summary.update({**values, **_as_html(texts)})

    def finish(self, *, is_finished: bool) -> None:
        """Wait until everything is sent or written."""
        self._tracked.finish(exit_code=int(not is_finished))


def _as_html(texts: dict[str, str]) -> dict[str, object]:
    import wandb

    return {name: wandb.Html(f"<pre>{html.escape(text)}</pre>") for name, text in texts.items()}
