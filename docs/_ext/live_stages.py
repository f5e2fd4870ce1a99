"""The stages in the reader's browser: the playground's static page, with graphs of the course's runs."""

import json
import logging as standard_logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from sphinx.util import logging

import gpt
from gpt.base.errors import UserError, requiring
from gpt.base.ladder import SMALL
from gpt.session.trained import TrainedRun

_DOWNLOADS = Path(__file__).parents[2] / "data"
_PACKAGE = Path(gpt.__file__).parent
_WRITERS = (_PACKAGE / "exporting", _PACKAGE / "playground")
_TRAINED = (*SMALL, "v8", "gru")  # in the page
_STAGES = (*_TRAINED, "recall", "gru_recall", "v7", "reverse")

log = logging.getLogger(__name__)


def write_live(runs: Mapping[str, TrainedRun], folder: Path) -> None:
    """Write the page into `folder`, unless it is newer than its runs and than the code that writes it.

    Without a network for onnxruntime-web, which is downloaded once, or without the libraries that write graphs, the
    site is built without live stages. This is a warning, as is a stage that cannot run or be trained in a browser:
    `sphinx-build -W` fails.
    """
    live = {stage: runs[stage].run for stage in _STAGES}
    made = folder / "index.html"
    code = (file for folder in _WRITERS for file in folder.rglob("*") if file.is_file())
    sources = [*((run.path / "summary.json") for run in live.values()), *code]
    if made.exists() and made.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The theme's accessible-pygments lets every library print its notes.
    standard_logging.getLogger().setLevel(standard_logging.WARNING)
    try:
        with requiring("onnx"):
            from gpt.playground.static import write
        write(live, folder, _DOWNLOADS)
    except UserError as error:
        log.warning("without live stages: %s", error)
        return
    described = json.loads((folder / "runs.json").read_text())
    for stage in live:
        training = described[stage]["training"] if stage in described else "it cannot run in a browser"
        if stage not in described or (isinstance(training, str) and stage in _TRAINED):
            log.warning("%s is not live: %s", stage, training)
