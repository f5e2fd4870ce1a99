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


def test_the_law_of_runs_is_found_if_losses_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise exactly, with noise within its interval, and where nothing remains of E."""
    found = fitted(N, D, LAW(N, D))
    assert (found.E, found.a, found.b) == pytest.approx((LAW.E, LAW.a, LAW.b), rel=0.02)
    assert found(2e6, 9e6) == pytest.approx(LAW(2e6, 9e6), abs=0.002)
    monkeypatch.setattr(scaling, "_FITS", 10)
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(N))
    predicted = [law(2e6, 6e6) for law in resampled(N, D, LAW(N, D) + noise)]
    assert min(predicted) - 0.01 < LAW(2e6, 6e6) < max(predicted) + 0.01
    nearly_exact = [law(2e6, 6e6) for law in resampled(N, D, LAW(N, D) + noise / 100)]
    assert np.ptp(predicted) > 5 * np.ptp(nearly_exact)
    without_rest = Law(E=0.0, A=20.0, B=30.0, a=0.3, b=0.2)(N, D) - 0.01
    found = fitted(N, D, without_rest)
    assert found.E == 0
    assert found(N, D) == pytest.approx(without_rest, abs=0.01)
    with pytest.raises(UserError, match="loss"):
        fitted(N, D, 2.0 + np.log(N) + np.log(D))


def run(n: float, d: float, flops: float | None) -> Any:
    exact = SimpleNamespace(nats=float(LAW(np.array(n), np.array(d))))
    summary = SimpleNamespace(stage="v8", parameters=round(n), flops=flops, exact=exact)
    config = SimpleNamespace(data="shakespeare")
    folder = SimpleNamespace(evaluations=lambda: [SimpleNamespace(tokens=d)], config=lambda: config)
    return SimpleNamespace(summary=summary, folder=folder)


def test_shorter_runs_predict_the_longer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scaling, "_FITS", 3)
    runs = [run(n, d, 6 * n * d) for n, d in zip(N, D, strict=True)]
    monkeypatch.setattr(scaling, "finished_runs", lambda _: runs)
    monkeypatch.setattr(sys, "argv", ["scaling.py", str(tmp_path), "--tokens", "1.1e6"])
    scaling.main()
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if "e+" in line and "|" in line]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[-1] for row in rows] == ["fitted", "fitted", "fitted", "predicted"] * 8
    assert all(float(row[3]) == pytest.approx(float(row[4]), abs=0.002) for row in rows)
    best = [line.split("|") for line in shown.splitlines() if " *" in line]  # at three times the compute
    assert len(best) == 1
    sizes = np.unique(N)
    losses = LAW(sizes, 3 * max(6 * N * D) / (6 * sizes))
    assert best[0][1].strip() == f"{sizes[losses.argmin()]:,.0f}"
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["scaling.py", str(tmp_path), "--tokens", "6e5"])
    with pytest.raises(SystemExit, match="six runs"):
        scaling.main()
