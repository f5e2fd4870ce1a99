"""Run folders with damaged files."""

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gpt.base.errors import UserError
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from tests.conftest import TrainedOnce


def _read_all(path: Path) -> dict[str, object]:
    """All that the project ever reads of a run folder, or what it says against it."""
    run = RunFolder(path)

    def checkpoint() -> object:
        newest = Checkpoints(run, 2).newest()
        return newest and (newest.state, {name: tensor.tolist() for name, tensor in newest.tensors().items()})

    def weights(which: str) -> list:
        return [tensor.tolist() for tensor in load_model(run, which).state_dict().values()]  # type: ignore[arg-type]

    readers: dict[str, Callable[[], object]] = {
        "config": run.config,
        "vocabulary": run.vocabulary,
        "summary": run.summary,
        "checkpoint": checkpoint,
        "metrics": lambda: (run.summary(), run.evaluations(), run.clock()),  # as whoever compares runs reads them
        "best": partial(weights, "best"),
        "last": partial(weights, "last"),
    }
    found: dict[str, object] = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except UserError as error:
            found[name] = error
    return found


def test_a_file_that_was_cut_off_is_noticed(trained_run: TrainedOnce, tmp_path: Path) -> None:
    """Reading gives an error, the checkpoint before, or the same content."""
    whole, draw = trained_run("v7"), random.Random(0)
    expected = _read_all(whole)
    older = shutil.copytree(whole, tmp_path / "older")
    shutil.rmtree(sorted((older / "checkpoints").iterdir())[-1])
    fallback = _read_all(older)["checkpoint"]
    copy = shutil.copytree(whole, tmp_path / "run")
    for path in [path for path in copy.rglob("*") if path.is_file() and path.stat().st_size]:
        content = path.read_bytes()
        position = draw.randrange(len(content))
        path.unlink()  # the best weights are linked with those of a checkpoint
        path.write_bytes(content[:position])
        for part, value in _read_all(copy).items():
            is_older = part == "checkpoint" and value == fallback
            assert isinstance(value, UserError) or value == expected[part] or is_older, (path, position, part)
        path.write_bytes(content)
