"""A loss knows its unit, what it is over and which weights have it, and with which others it can be compared."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.losses import Loss, LossScope

OVER = {"split": "val", "corpus": "a text", "vocabulary": "v", "covers": True, "count": 80, "of": 80, "characters": 160}


def loss(nats: float = 2.0, how: Any = "exact", weights: Any = "last", **over: Any) -> Loss:
    return Loss(nats=nats, how=how, over=LossScope(**OVER | over), weights=weights)


def test_losses_over_the_same_targets_can_be_compared() -> None:
    others = [{"corpus": "another"}, {"split": "test"}, {"answers_only": True}, {"sliding": True}]
    sample, uncounted = {"of": 90}, {"characters": None}
    for over in (*others, sample, uncounted, {"vocabulary": "w", "covers": False}):
        assert loss(**over).key != loss().key, over
    assert loss(how="estimated", vocabulary="w").key != loss(how="estimated").key
    assert loss(weights="best").key == loss().key
    assert loss(vocabulary="w", count=40, of=40).key == loss().key  # other tokens of all of the same text
    # Samples of one size are elsewhere with windows of another length.
    assert loss(of=90, window=8).key == loss(of=90, window=8).key != loss(of=90, window=16).key
    assert loss(window=8).key == loss(window=16).key  # a whole split


@given(nats=st.floats(0, 1e3), count=st.integers(1, 10**9), characters=st.integers(1, 10**9))
def test_a_loss_is_the_same_in_every_unit(nats: float, count: int, characters: int) -> None:
    found = loss(nats, count=count, of=count, characters=characters, bytes=characters)
    assert found.common * characters == pytest.approx(nats * count)
    assert found.bits_per("byte") == pytest.approx(found.common / math.log(2))
    assert found.guess(65).common == pytest.approx(math.log(65) * count / characters)
    assert (loss(nats, characters=None).common, loss(nats, characters=None).unit) == (nats, "token")
    estimated = loss(nats, "estimated", count=None, of=None, characters=None)
    assert estimated.like(found).common == pytest.approx(found.common)


def test_a_loss_says_why_no_target_can_judge_it() -> None:
    assert loss().objection is None
    assert str(loss(of=90).objection).startswith("by 80 of 90 targets")
    assert loss(left_out=3).objection == "by a part of the validation split"


def test_its_record_has_what_is_known_and_is_read_back() -> None:
    found = loss(weights=640)
    assert "sliding" not in found.model_dump_json()
    assert Loss.model_validate_json(found.model_dump_json()) == found
