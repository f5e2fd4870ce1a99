"""docs/scaling.py finds the law that runs follow, and predicts runs that it has not seen."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpt.base.errors import UserError
from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))
import scaling
from scaling import Law, fitted, resampled

LAW = Law(E=1.2, A=40.0, B=300.0, a=0.4, b=0.5)
N, D = (x.ravel() for x in np.meshgrid(np.geomspace(2e4, 3e6, 8), np.geomspace(2.5e5, 2e6, 4)))


def test_the_law_of_runs_is_found() -> None:
    found = fitted(N, D, LAW(N, D))
    assert (found.a, found.b) == (pytest.approx(LAW.a, rel=0.02), pytest.approx(LAW.b, rel=0.02))
    assert abs(found.E - LAW.E) < 0.01
    assert found(2e6, 9e6) == pytest.approx(LAW(2e6, 9e6), abs=0.002)


def test_the_interval_of_a_prediction_holds_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_FITS", 10)
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(N))
    predicted = [law(2e6, 6e6) for law in resampled(N, D, LAW(N, D) + noise)]
    assert min(predicted) - 0.01 < LAW(2e6, 6e6) < max(predicted) + 0.01


def run(n: float, d: float, flops: float | None) -> Any:
    exact = SimpleNamespace(val=float(LAW(np.array(n), np.array(d))))
    summary = SimpleNamespace(parameters=round(n), flops=flops, exact=exact)
    return SimpleNamespace(summary=summary, folder=SimpleNamespace(evaluations=lambda: [SimpleNamespace(tokens=d)]))


def test_shorter_runs_predict_the_longer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scaling, "_FITS", 3)
    runs = [run(n, d, 6 * n * d) for n, d in zip(N, D, strict=True)]
    scaling.report(runs, 1.1e6, tmp_path / "scaling.png")
    shown = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if "e+" in line and "|" in line
    ]
    assert [row[-1] for row in rows] == ["fitted", "fitted", "fitted", "predicted"] * 8
    assert all(float(row[3]) == pytest.approx(float(row[4]), abs=0.002) for row in rows)
    assert shown.count(" *") == 1  # the best size at three times the compute
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="at least three sizes and three amounts of data"):
        scaling.report(runs, 6e5, tmp_path / "scaling.png")
    with pytest.raises(UserError, match="no run says its compute"):
        scaling.report([run(1e5, 1e6, None)], np.inf, tmp_path / "scaling.png")


def test_a_loss_that_does_not_fall_has_no_law() -> None:
    with pytest.raises(UserError, match="the loss must fall"):
        fitted(N, D, 2.0 + np.log(N) + np.log(D))
