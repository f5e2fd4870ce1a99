"""The stages in the reader's browser: the playground's static page, with graphs of the course's runs."""

import json
import logging as standard_logging
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from course_runs import is_older
from sphinx.util import logging

import gpt
from gpt.base.errors import UserError, require_extra
from gpt.base.ladder import SMALL
from gpt.runs.folder import RunFolder
from gpt.session.trained import TrainedRun

_DOWNLOADS = Path(__file__).parents[2] / "data"
_PACKAGE = Path(gpt.__file__).parent
_WRITERS = ("exporting", "inspection", "models", "playground")  # the packages whose code makes a graph what it is
_TRAINED = (*SMALL, "v8", "gru", "recall", "gru_recall")  # in the page
_STAGES = (*_TRAINED, "v7", "reverse")
_POOL = partial(ProcessPoolExecutor, os.cpu_count(), get_context("spawn"))  # PyTorch has threads, which a fork lacks

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
        with require_extra("onnx"):
            from gpt.playground import static
        contents = static.page(_DOWNLOADS)
    except UserError as error:
        log.warning("without live stages: %s", error)
        (folder / "index.html").unlink(missing_ok=True)
        return
    described = _described(runs, folder / "graphs")
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


def _described(runs: Mapping[str, TrainedRun], folder: Path) -> dict[str, Any]:
    """What the page says of each stage whose graphs are in `folder`, after those that are older were exported."""
    code = [path for name in _WRITERS for path in (_PACKAGE / name).rglob("*.py")]
    described, exports = {}, {}
    with _POOL() as pool:
        for stage in reversed(_STAGES):  # those that take longest are not the last
            path = runs[stage].run.path
            if is_older(folder / stage / "run.json", [*code, path / "summary.json"]):
                shutil.rmtree(folder / stage, ignore_errors=True)
                exports[stage] = pool.submit(_export, stage, path, folder / stage)
    for stage in _STAGES:
        try:
            if stage in exports:
                exports[stage].result()
            described[stage] = json.loads((folder / stage / "run.json").read_text())
        except UserError as error:
            log.warning("%s is not live: %s", stage, error)
            continue
        training = described[stage]["training"]
        if isinstance(training, str) and stage in _TRAINED:
            log.warning("%s is not live: %s", stage, training)
    return described


def _export(stage: str, path: Path, folder: Path) -> None:
    """Write the graphs of a run and then, when these are whole, its description."""
    from gpt.playground import static

    description, _ = static.export_run(stage, RunFolder(path), folder)
    (folder / "run.json").write_text(json.dumps(description))
