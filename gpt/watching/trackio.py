"""trackio, in a SQLite file on this machine: in $TRACKIO_DIR or its cache."""

import contextlib
import contextvars
import html
import warnings
from collections.abc import Iterator

from gpt.runs.folder import RunFolder
from gpt.watching.trackers import Project, Tracker


class Trackio(Tracker):
    """A run of trackio, which replaces an earlier one of the same id."""

    package = "trackio"

    def __init__(self, run: RunFolder, project: Project) -> None:
        super().__init__(run)
        self._project = project

    def open(self) -> str:
        """Begin the run; an earlier one, whose folder may have had another name, is removed."""
        import trackio

        tracking_id = self.run.tracking_id()
        with _failing():
            with contextlib.suppress(ValueError):  # The project is new.
                for earlier in trackio.Api().runs(self._project):
                    if earlier.name.rpartition(" ")[2] == tracking_id:
                        earlier.delete()  # all of it is logged again
            # In a context of its own: trackio ends the context's run at exit and prints that to stdout.
            self._tracked = contextvars.copy_context().run(
                trackio.init,
                self._project,
                name=f"{self.run.path.name} {tracking_id}",
                config=self.run.config().content(),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        return f"trackio show --project {self._project}"

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Log a step."""
        import trackio

        shown = {name: trackio.Html(f"<pre>{html.escape(text)}</pre>") for name, text in texts.items()}
        with _failing():
            self._tracked.log({**values, **shown}, step=step)

    def finish(self, *, is_finished: bool) -> None:  # noqa: ARG002
        """Wait until everything is written."""
        with _failing():
            self._tracked.finish()


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Raise what trackio reports as a warning of this category, after which it would continue."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for problem in caught:
        if issubclass(problem.category, UserWarning):
            raise RuntimeError(str(problem.message))
