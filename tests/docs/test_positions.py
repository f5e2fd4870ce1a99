"""docs/positions.py states the losses of the run, by their place in the window."""

import sys
from pathlib import Path

import pytest
import torch

import gpt
from gpt.base.errors import UserError
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder
from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))
import positions

T = 12
SHORT = ["training.max_iters=20", "training.eval_interval=20", "training.eval_iters=1", "device=cpu"]


def train(folder: Path, *settings: str) -> FinishedRun:
    gpt.train(*SHORT, *settings, folder=folder)
    return FinishedRun(RunFolder(folder), RunFolder(folder).summary())


def test_the_losses_are_those_of_the_windows_at_these_positions(
    corpus_file: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["model=v3", "data=text", f"data.path={corpus_file}", f"model.block_size={T}"]
    runs = [train(tmp_path / str(seed), *own, f"seed={seed}") for seed in (1, 2)]
    found = positions.losses_by_position(runs)
    assert [[*group] for group in found.groups] == [[1], [2], [3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    validation = text[int(0.9 * len(text)) :]
    windows = [validation[start : start + T + 1] for start in range(0, len(validation) - T, T)]
    each = []
    for run in runs:
        opened = gpt.load(run.folder.path, device="cpu")
        each += [[loss for _, loss in opened.losses(window)] for window in windows]
    expected = torch.tensor(each).mean(0)
    shown = [expected[group[0] - 1 : group[-1]].mean().item() for group in found.groups]
    assert found.losses["v3"] == pytest.approx(shown, abs=1e-5)
    monkeypatch.setattr(sys, "argv", ["positions.py", str(tmp_path)])
    positions.main()
    said = capsys.readouterr().out
    assert "| characters read   | 1     | 2     | 3 to 4   | 5 to 8   | 9 to 12   |" in said
    assert (tmp_path / "positions.png").read_bytes().startswith(b"\x89PNG")


def test_runs_that_cannot_be_compared_are_refused(corpus_file: Path, tmp_path: Path) -> None:
    own = ["model=v3", "data=text", f"data.path={corpus_file}"]
    run, longer = train(tmp_path / "run", *own), train(tmp_path / "longer", *own, f"model.block_size={T}")
    with pytest.raises(UserError, match="longer"):
        positions.losses_by_position([run, longer])
    other_heads = train(tmp_path / "heads", *own, "model.n_head=1")
    assert {*positions.losses_by_position([run, other_heads]).losses} == {"n_head=4", "n_head=1"}
    answers = ["model=v3", "data=repeat", "data.size=200", "data.distance=4", "model.block_size=20"]
    with pytest.raises(UserError, match="answers"):
        positions.losses_by_position([train(tmp_path / "answers", *answers)])
