"""The stages in the reader's browser: the playground's static page, with graphs of the course's runs."""

import json
import logging as standard_logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from course_runs import is_older
from sphinx.util import logging

import gpt
from gpt.base.errors import UserError, requiring
from gpt.base.ladder import SMALL
from gpt.session.trained import TrainedRun

_DOWNLOADS = Path(__file__).parents[2] / "data"
_PACKAGE = Path(gpt.__file__).parent
_WRITERS = ("exporting", "inspection", "models", "playground")  # the packages whose code makes a graph what it is
_TRAINED = (*SMALL, "v8", "gru")  # in the page
_STAGES = (*_TRAINED, "recall", "gru_recall", "v7", "reverse")

log = logging.getLogger(__name__)


def write_live(runs: Mapping[str, TrainedRun], folder: Path) -> None:
    """Write the page into `folder`. The graphs of a run are exported again if the run or the code of exports changed.

    Without a network for onnxruntime-web, which is downloaded once, or without the libraries that write graphs, the
    site is built without live stages. This is a warning, as is a stage that cannot run or be trained in a browser:
    `sphinx-build -W` fails.
    """
    # The theme's accessible-pygments lets every library print its notes.
    standard_logging.getLogger().setLevel(standard_logging.WARNING)
    try:
        with requiring("onnx"):
            from gpt.playground import static
        contents = static.page(_DOWNLOADS)
    except UserError as error:
        log.warning("without live stages: %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return
    code = [path for name in _WRITERS for path in (_PACKAGE / name).rglob("*.py")]
    described = {}
    for stage in _STAGES:
        run, graphs = runs[stage].run, folder / "graphs" / stage
        made = graphs / "run.json"  # the last file, so that the others are whole
        try:
            if is_older(made, [*code, run.path / "summary.json"]):
                shutil.rmtree(graphs, ignore_errors=True)
                described[stage], _ = static.export_run(stage, run, graphs)
                made.write_text(json.dumps(described[stage]))
            described[stage] = json.loads(made.read_text())
        except UserError as error:
            log.warning("%s is not live: %s", stage, error)
            continue
        training = described[stage]["training"]
        if isinstance(training, str) and stage in _TRAINED:
            log.warning("%s is not live: %s", stage, training)
    contents["runs.json"] = json.dumps(described).encode()
    for name, content in contents.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:  # Sphinx reads pages again if index.html is newer
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    written = {*(folder / name for name in contents), *(folder / "graphs" / stage for stage in described)}
    for path in [*folder.rglob("*")]:  # what an earlier build wrote
        if path.is_file() and not {path, *path.parents} & written:
            path.unlink()
