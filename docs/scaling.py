"""Fit how the loss falls with the parameters N and the characters D to the runs of a sweep: L = E + A / N^a + B / D^b.

    python docs/scaling.py runs/scaling                    # the fit, and predictions at three times the compute
    python docs/scaling.py runs/scaling --tokens 1000000   # fitted to shorter runs; the others are predicted

Source: "Training Compute-Optimal Large Language Models" (Hoffmann et al., 2022), section 3.3, with least squares in
place of a Huber loss. Intervals hold the middle 90 % of the fits to runs drawn with replacement. They say how well the
runs determine the law, and not by how much a single run deviates from it.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from gpt.base.errors import UserError
from gpt.base.pictures import picture
from gpt.runs.finding import FinishedRun, finished_runs

_FITS = 200  # to runs drawn with replacement
_ROUNDS, _GRID = 5, 13  # of the search for the exponents: each round is finer
_TIMES = 3.0  # the largest compute, to predict at


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N^a + B / D^b, in nats."""

    E: float
    A: float
    B: float
    a: float
    b: float

    def __call__(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """The loss of N parameters trained on D characters."""
        return self.E + self.A / n**self.a + self.B / d**self.b


def fitted(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> Law:
    """The law with the least squares: for each a and b of finer and finer grids, the others solve a linear system."""
    a_range = b_range = (0.02, 2.0)
    best = (np.inf, Law(0, 0, 0, 0, 0))
    for _ in range(_ROUNDS):
        for a in np.geomspace(*a_range, _GRID):
            for b in np.geomspace(*b_range, _GRID):
                E, A, B = _solved(n**-a, d**-b, loss)
                tried = Law(E, A, B, float(a), float(b))
                squares = float(((tried(n, d) - loss) ** 2).sum())
                if min(A, B) > 0 and squares < best[0]:
                    best = (squares, tried)
        law = best[1]
        if not law.a:
            raise UserError("no law of this form fits: the loss must fall with the parameters and with the data")
        step = (a_range[1] / a_range[0]) ** (1 / (_GRID - 1))
        a_range, b_range = ((x / step, x * step) for x in (law.a, law.b))
    return law


def _solved(by_n: np.ndarray, by_d: np.ndarray, loss: np.ndarray) -> tuple[float, float, float]:
    """E >= 0, A and B of the least squares of E + A by_n + B by_d - loss."""
    scales = np.array([1.0, by_n.mean(), by_d.mean()])  # for columns of about 1: a well-conditioned system
    columns = np.stack([np.ones_like(by_n), by_n, by_d], axis=1) / scales
    solution = np.linalg.lstsq(columns, loss)[0]
    if solution[0] < 0:  # then the best E that is not negative is 0
        solution = np.array([0.0, *np.linalg.lstsq(columns[:, 1:], loss)[0]])
    E, A, B = (float(x) for x in solution / scales)
    return E, A, B


def resampled(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> list[Law]:
    """Fits to as many runs, drawn with replacement; a draw that determines no law is left out."""
    draw, laws = np.random.default_rng(1), []
    for _ in range(_FITS):
        rows = draw.integers(len(n), size=len(n))
        if min(len(np.unique(n[rows])), len(np.unique(d[rows]))) >= 3:
            try:
                laws.append(fitted(n[rows], d[rows], loss[rows]))
            except UserError:
                continue
    return laws


def main() -> None:
    """Print the law, how well it fits, and predictions; draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of the sweep")
    parser.add_argument("--tokens", type=float, default=np.inf, help="fit the runs of at most this many tokens")
    parser.add_argument("--out", type=Path, help="the picture (default scaling.png in the folder of the sweep)")
    given = parser.parse_args()
    try:
        report(finished_runs(given.runs), given.tokens, given.out or given.runs / "scaling.png")
    except UserError as error:
        sys.exit(f"error: {error}")


def report(runs: list[FinishedRun], most: float, picture: Path) -> None:
    """Fit the runs of at most `most` tokens, and print and draw all of them."""
    counted = [run for run in runs if run.summary.flops]
    if not counted:
        raise UserError("no run says its compute: an older version trained them")
    alike = {(run.summary.stage, str(run.folder.config().data)) for run in counted}
    if len(alike) > 1:
        raise UserError("these runs differ in their stage or their text: a law describes runs that differ in size only")
    n = np.array([run.summary.parameters for run in counted], dtype=float)
    d = np.array([run.folder.evaluations()[-1].tokens or 0 for run in counted], dtype=float)
    loss = np.array([run.summary.exact.nats for run in counted])
    flops = np.array([run.summary.flops for run in counted])
    used = d <= most
    if used.sum() < 6 or min(len(np.unique(n[used])), len(np.unique(d[used]))) < 3:
        raise UserError("a fit needs six runs, of at least three sizes and three amounts of data")
    law, laws = fitted(n[used], d[used], loss[used]), resampled(n[used], d[used], loss[used])
    if not laws:
        raise UserError("the runs do not determine the law: no fit to runs drawn with replacement succeeds")
    for name in ("E", "A", "B", "a", "b"):
        low, high = np.quantile([getattr(other, name) for other in laws], [0.05, 0.95])
        print(f"{name} = {getattr(law, name):.4g} ({low:.4g} to {high:.4g})")
    print(f"the ranges hold 90 % of {len(laws)} fits to runs drawn with replacement, of {_FITS} draws")
    print(f"root mean square error of the {used.sum()} runs: {np.sqrt(np.mean((law(n, d) - loss)[used] ** 2)):.4f}\n")
    order = np.lexsort((d, n))
    rows = [
        [
            f"{n[i]:,.0f}",
            f"{d[i]:,.0f}",
            f"{flops[i]:.2e}",
            f"{loss[i]:.4f}",
            f"{law(n[i], d[i]):.4f}",
            "fitted" if used[i] else "predicted",
        ]
        for i in order
    ]
    headers = ["parameters", "tokens", "compute", "exact loss", "law", ""]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print(f"\nat {_TIMES:g} times the largest compute, {_TIMES * flops.max():.2e}:\n")
    print(
        tabulate(
            _predictions(law, laws, n, d, flops),
            tablefmt="github",
            disable_numparse=True,
            headers=["parameters", "tokens", "predicted loss", "90 % of the fits"],
        )
    )
    _draw(law, n, d, loss, flops, picture)
    print(f"\nwritten: {picture}")


def _predictions(law: Law, laws: list[Law], n: np.ndarray, d: np.ndarray, flops: np.ndarray) -> list[list[str]]:
    """For each size of the runs, its loss after _TIMES the largest compute; the lowest is marked."""
    sizes = np.unique(n)
    per_token = np.array([np.median((flops / d)[n == size]) for size in sizes])
    tokens = _TIMES * flops.max() / per_token
    losses = law(sizes, tokens)
    low, high = np.quantile([other(sizes, tokens) for other in laws], [0.05, 0.95], axis=0)
    return [
        [
            f"{sizes[i]:,.0f}",
            f"{tokens[i]:,.0f}",
            f"{losses[i]:.4f}" + (" *" if i == losses.argmin() else ""),
            f"{low[i]:.4f} to {high[i]:.4f}",
        ]
        for i in range(len(sizes))
    ]


def _draw(law: Law, n: np.ndarray, d: np.ndarray, loss: np.ndarray, flops: np.ndarray, path: Path) -> None:
    """Left: the loss against compute, a line for each size. Right: the loss against the size at equal compute."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = np.unique(n)
    curves = {}
    for size in sizes:
        own = np.flatnonzero(n == size)[np.argsort(d[n == size])]
        curves[size] = (np.log(flops[own]), loss[own], np.median(flops[own] / d[own]))
        (line,) = left.plot(flops[own], loss[own], "o", label=f"{size:,.0f}")
        left.plot(flops[own], law(size, d[own]), "-", color=line.get_color(), linewidth=0.8)
    for compute in np.geomspace(np.median(flops[d == d.min()]), flops.max(), 5):
        fit = [law(size, compute / per_token) for size, (_, _, per_token) in curves.items()]
        (line,) = right.plot(sizes, fit, "-", linewidth=0.8, label=f"{compute:.1e}")
        points = [
            (size, np.interp(np.log(compute), x, y))
            for size, (x, y, _) in curves.items()
            if x[0] <= np.log(compute) <= x[-1]
        ]
        if points:
            right.plot(*zip(*points, strict=True), "o", color=line.get_color())
    left.set(xlabel="floating-point operations", ylabel="exact loss (nats)", xscale="log", title="dots: runs")
    right.set(xlabel="parameters", ylabel="loss (nats)", xscale="log", title="equal compute; dots: between runs")
    for axes, title in ((left, "parameters"), (right, "operations")):
        axes.grid(alpha=0.3)
        axes.legend(title=title, fontsize="x-small", title_fontsize="x-small")
    path.write_bytes(picture(figure, path.suffix[1:]))


if __name__ == "__main__":
    main()
