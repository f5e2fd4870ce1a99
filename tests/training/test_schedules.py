"""Every schedule warms up to its peak, stays within it, and ends where its formula says."""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data.text import TextData
from gpt.training import schedules
from gpt.training.schedules import SCHEDULE, Schedule
from tests.training.helpers import MAX_ITERS, SCHEDULES, choice, small_schedule, train_small


@dataclass(frozen=True)
class Case:
    """One question to a schedule."""

    schedule: Schedule
    iteration: int
    max_iters: int
    peak: float
    warmup_iters: int
    final: float
    cooldown: float

    @property
    def rate(self) -> float:
        return self.schedule(self.iteration, self.max_iters, self.peak)


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    max_iters = draw(st.integers(1, 10_000))
    iteration = draw(st.integers(0, max_iters))
    warmup_iters = draw(st.integers(0, 2 * max_iters))
    shares = st.floats(0, 1, exclude_max=True)
    changes: dict[str, Any] = {"warmup_iters": warmup_iters}
    taken = inspect.signature(getattr(schedules, name)).parameters
    changes |= {key: draw(shares) for key in ("final", "cooldown") if key in taken}
    peak = draw(st.floats(0, 1e3, allow_subnormal=False))
    own = [changes.get(key, 0.0) for key in ("final", "cooldown")]
    return Case(small_schedule(name, **changes), iteration, max_iters, peak, warmup_iters, *own)


every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def test_these_are_all_schedules_of_conf() -> None:
    named = {name for name, value in vars(schedules).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert named == {*SCHEDULES, "check_warmup"}
    assert all(SCHEDULE.find(choice("schedule", name)) is getattr(schedules, name) for name in SCHEDULES)


def by_the_formulas(case: Case, name: str) -> float:
    """The learning rate, but for trapezoids as this project's first versions computed it for the documented runs."""
    iteration, max_iters, peak, warmup_iters = case.iteration, case.max_iters, case.peak, case.warmup_iters
    if iteration < warmup_iters:
        return peak * (iteration + 1) / warmup_iters
    if name == "constant":
        return peak
    if name == "inverse_sqrt":
        return peak * math.sqrt(max(1, warmup_iters) / (iteration + 1))
    progress = (iteration - warmup_iters) / max(1, max_iters - warmup_iters)
    remaining = {
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "trapezoid": min(1.0, (max_iters - iteration) / (case.cooldown * max_iters)) if case.cooldown else 1.0,
    }[name]
    return case.final * peak + remaining * (peak - case.final * peak)


@every_schedule
@given(st.data())
def test_learning_rates_are_bit_for_bit_those_of_documented_runs(name: str, data: st.DataObject) -> None:
    case = data.draw(cases(name))
    expected = by_the_formulas(case, name)
    assert case.rate == (pytest.approx(expected, rel=1e-9, abs=1e-12) if name == "trapezoid" else expected)


@pytest.mark.parametrize("name", ["cosine", "inverse_sqrt"])
def test_evaluations_tell_the_learning_rate_of_their_iteration(name: str, data: TextData) -> None:
    """That of the last one is the last step's."""
    schedule = small_schedule(name, warmup_iters=5)
    state = train_small("v1", data, schedule=schedule, optimizer="muon", eval_iters=1)
    told = [(e.iteration, e.learning_rates) for e in state.progress.evaluations]
    assert told == [
        (iteration, {group: schedule(last, MAX_ITERS, peak) for group, peak in state.optimizer.peaks.items()})
        for iteration, last in ((0, 0), (10, 10), (20, 19))
    ]
