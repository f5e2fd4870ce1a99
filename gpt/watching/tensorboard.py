"""TensorBoard: event files in the run folder."""

import shlex
import textwrap

import yaml

from gpt.config.keys import flat
from gpt.runs.folder import RunFolder
from gpt.watching.trackers import Tracker


class TensorBoard(Tracker):
    """Event files in `tensorboard/` of the run folder."""

    package = "tensorboard"

    def __init__(self, run: RunFolder) -> None:
        super().__init__(run)

    def open(self) -> str:
        """Begin a file that hides the events of earlier ones."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        config = self.run.config().content()
        self._writer = SummaryWriter(self.run.path / "tensorboard", purge_step=0, flush_secs=10)
        self._writer.add_text("configuration", _verbatim(yaml.safe_dump(config, sort_keys=False)), 0)
        lines = {name: [f"^{name}$", f"^documented_{name}$"] for name in ("val", "train", "batch")}
        self._writer.add_custom_scalars({"loss": {name: ["Multiline", tags] for name, tags in lines.items()}})
        values = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in flat(config).items()}
        file = self._writer._get_file_writer()  # add_hparams would create a separate run for them
        for summary in hparams(values, {"val": None, "exact_val": None}):
            file.add_summary(summary)
        return f"tensorboard --logdir {shlex.quote(str(self.run.path))}"

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Add scalars and texts."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        for name, text in texts.items():
            self._writer.add_text(name, _verbatim(text), step)

    def finish(self, *, is_finished: bool) -> None:  # noqa: ARG002
        """Flush and close the file."""
        self._writer.close()


def _verbatim(text: str) -> str:
    """A Markdown code block, because TensorBoard renders texts as Markdown."""
    return textwrap.indent(text, "    ", lambda _: True)
