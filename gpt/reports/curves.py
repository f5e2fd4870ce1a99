"""Loss curves against iterations, tokens, seconds or compute, and the losses of runs at an equal amount of one."""

import statistics
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gpt.base.errors import UserError
from gpt.base.losses import Unit
from gpt.reports.ranking import Group, Ranking
from gpt.runs.finding import FinishedRun

Axis = Literal["iterations", "tokens", "seconds", "compute"]

XLABELS = {
    "iterations": "iteration",
    "tokens": "tokens trained on",
    "seconds": "seconds of training steps",
    "compute": "floating-point operations in training steps",
}


@dataclass(frozen=True)
class Equal:
    """The estimated validation losses of the groups of a ranking after an equal amount of training."""

    unit: Unit  # what the losses are per
    amount: float  # of seconds, tokens or operations: what the run that took least took
    losses: list[tuple[Group, list[float]]]  # of each seed; the group with the lowest mean first


def at_equal(ranking: Ranking, x: Axis) -> Equal | None:
    """The losses at the largest `x` that all runs reached; None if one has no curve or was not evaluated before that.

    They are in the unit of the ranking. Between two evaluations, the loss is interpolated linearly.
    """
    try:
        curves = [[_trained(curve(run, x, ranking.unit)) for run in group.runs] for group in ranking.groups]
    except UserError:
        return None
    lines = [line for of_group in curves for line in of_group]
    if len(curves) < 2 or not all(lines):
        return None
    amount = min(line[-1][0] for line in lines)
    if any(line[0][0] > amount for line in lines):
        return None
    losses = [
        (group, [float(np.interp(amount, [at for at, _ in line], [val for _, val in line])) for line in of_group])
        for group, of_group in zip(ranking.groups, curves, strict=True)
    ]
    return Equal(ranking.unit, amount, sorted(losses, key=lambda loss: statistics.mean(loss[1])))


def _trained(points: dict[int, tuple[float, float]]) -> list[tuple[float, float]]:
    """The points after iteration 0, from which a line to the first evaluation would say nothing."""
    return sorted(point for iteration, point in points.items() if iteration > 0)


def curve(run: FinishedRun, x: Axis, unit: Unit = "token") -> dict[int, tuple[float, float]]:
    """The evaluations as points by iteration.

    Tokens are taken to be as long as those of the exact loss are. Raises UserError if the run is damaged or does not
    state its compute.
    """
    folder, summary = run
    evaluations = folder.evaluations()
    losses = {e.iteration: e.val.like(summary.exact).per(unit) or e.val.nats for e in evaluations}
    clock = folder.clock() if x == "seconds" else {}
    if x == "iterations":
        return {iteration: (iteration, loss) for iteration, loss in losses.items()}
    if x == "compute" and not summary.flops:  # unknown, or without a matrix product
        raise UserError(f"{folder.path} has no floating-point operations")
    if x in ("tokens", "compute"):
        amounts = [e.tokens for e in evaluations]
        # The compute in proportion to the tokens, although those of short windows cost somewhat less.
        scale = summary.flops / amounts[-1] if x == "compute" and summary.flops and amounts else 1
        return {e.iteration: (scale * n, losses[e.iteration]) for e, n in zip(evaluations, amounts, strict=True)}
    return {iteration: (clock[iteration], loss) for iteration, loss in losses.items() if iteration in clock}
