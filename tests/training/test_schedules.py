"""Every schedule warms up to its peak, stays within it, and ends where its formula says."""

import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.text import TextData
from gpt.training import schedules
from gpt.training.schedules import SCHEDULE, check_warmup
from tests.training.helpers import MAX_ITERS, SCHEDULES, choice, small_schedule, train_small


def test_these_are_all_schedules_of_conf() -> None:
    named = {name for name, value in vars(schedules).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert named == {*SCHEDULES, "check_rates", "check_warmup", "depends_on_length"}
    assert all(SCHEDULE.find(choice("schedule", name)) is getattr(schedules, name) for name in SCHEDULES)


def by_the_formulas(
    name: str, iteration: int, max_iters: int, peak: float, warmup_iters: int, final: float = 0.0, cooldown: float = 0.0
) -> float:
    """The learning rate, but for trapezoids as this project's first versions computed it for the documented runs."""
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
        "trapezoid": min(1.0, (max_iters - iteration) / (cooldown * max_iters)) if cooldown else 1.0,
    }[name]
    return final * peak + remaining * (peak - final * peak)


@pytest.mark.parametrize("name", SCHEDULES)
@given(st.data())
def test_learning_rates_are_bit_for_bit_those_of_documented_runs(name: str, data: st.DataObject) -> None:
    max_iters, peak = data.draw(st.integers(1, 10_000)), data.draw(st.floats(0, 1e3, allow_subnormal=False))
    iteration, warmup_iters = data.draw(st.integers(0, max_iters)), data.draw(st.integers(0, 2 * max_iters))
    taken = {"final", "cooldown"} & inspect.signature(getattr(schedules, name)).parameters.keys()
    changes = {key: data.draw(st.floats(0, 1, exclude_max=True)) for key in sorted(taken)}
    changes["warmup_iters"] = warmup_iters
    rate = small_schedule(name, **changes)(iteration, max_iters, peak)
    expected = by_the_formulas(name, iteration, max_iters, peak, **changes)
    assert rate == (pytest.approx(expected, rel=1e-9, abs=1e-12) if name == "trapezoid" else expected)


@pytest.mark.parametrize("name", ["cosine", "inverse_sqrt"])
def test_evaluations_tell_the_learning_rate_of_their_iteration(name: str, data: TextData) -> None:
    """That of the last one is the last step's."""
    schedule = small_schedule(name, warmup_iters=5)
    trainer = train_small("v1", data, schedule=schedule, optimizer="muon", eval_iters=1)
    told = [(e.iteration, e.learning_rates) for e in trainer.state.evaluations]
    assert told == [
        (iteration, {group: schedule(last, MAX_ITERS, peak) for group, peak in trainer.optimizer.peaks.items()})
        for iteration, last in ((0, 0), (10, 10), (20, 19))
    ]


def test_a_warmup_beyond_the_run_is_refused_or_told(caplog: pytest.LogCaptureFixture) -> None:
    long = choice("schedule", "cosine", warmup_iters=100)
    check_warmup(long, 100)
    with pytest.raises(RequestError, match=r"schedule\.warmup_iters=100"):
        check_warmup(long, 99)
    check_warmup(long, 99, is_estimate=True)
    assert "schedule.warmup_iters=100" in caplog.text
