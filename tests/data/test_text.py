"""Batches are windows of the right split, drawn evenly, and the same for the same seed; or all the same one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, OneBatch
from gpt.data.text import EvaluationWindows, ShortWindows, ShuffledWindows, TextData
from tests.conftest import text_data

COUNTING = "".join(chr(0x4E00 + i) for i in range(1000))  # token i is character i: an id is a position


def test_each_target_is_the_successor_of_its_input() -> None:
    data = text_data(COUNTING)
    for split, first, last in (("train", 0, 899), ("val", 900, 999)):
        batch = data.batch(split, 4000, generator(0, split))
        (inputs,) = batch.inputs
        assert inputs.shape == batch.targets.shape == (4000, 8)
        assert batch.tokens == 4000 * 8
        assert torch.equal(batch.targets, inputs + 1)
        assert torch.equal(inputs[:, 1:], batch.targets[:, :-1])
        assert (inputs.min(), batch.targets.max()) == (first, last)  # windows start everywhere


def test_a_training_batch_depends_on_its_seed_and_iteration() -> None:
    data = text_data(COUNTING)
    drawn = ((1, 7), (1, 7), (2, 7), (1, 8), (11, 7))
    served = [data.training_batch(seed, iteration, 32).targets.tolist() for seed, iteration in drawn]
    assert served[0] == served[1] not in served[2:]


@given(length=st.integers(20, 300), block_size=st.integers(1, 9), tokens=st.integers(1, 200))
def test_every_target_of_a_split_is_served_once(length: int, block_size: int, tokens: int) -> None:
    data = text_data(COUNTING[:length], block_size, train_fraction=0.5)
    for split, first, last in (("train", 0, length // 2), ("val", length // 2, length)):
        adjacent = list(data.every_target_once(split, tokens))
        assert torch.cat([batch.targets.flatten() for batch in adjacent]).tolist() == list(range(first + 1, last))
        assert all(torch.equal(batch.targets, batch.inputs[0] + 1) for batch in adjacent)
        assert all(batch.targets.shape[1] <= block_size for batch in adjacent)
        served = []
        for batch in data.every_target_in_context(split, tokens):
            (inputs,) = batch.inputs
            assert inputs.shape == batch.targets.shape == (len(inputs), block_size)
            counted = batch.targets != IGNORED
            assert batch.tokens == counted.sum()
            assert torch.equal(batch.targets[counted], inputs[counted] + 1)
            served += batch.targets[counted].tolist()
            context = batch.targets - inputs[:, :1]  # of each target, in its window
            assert (context[counted & (inputs[:, :1] > first)] > block_size // 2).all()  # but for the first window
        assert served == list(range(first + 1, last))


@given(length=st.integers(2, 60), block_size=st.integers(1, 20), most=st.integers(1, 70))
def test_a_sample_of_a_text_is_a_window_or_more(length: int, block_size: int, most: int) -> None:
    windows = EvaluationWindows(torch.arange(length), block_size, 32, most)
    for targets in (windows.adjacent(), windows.sliding()):
        assert 0 < targets.count == sum(batch.tokens for batch in targets) <= max(most, block_size)
        assert targets.of == length - 1


def test_short_windows_come_first_and_have_as_many_tokens() -> None:
    whole = text_data(COUNTING)
    data = ShortWindows(whole, length=2, iterations=3)
    shapes = [tuple(data.training_batch(1, iteration, 6).targets.shape) for iteration in range(5)]
    assert shapes == [(24, 2), (24, 2), (24, 2), (6, 8), (6, 8)]
    assert data.epoch_tokens == 900
    assert torch.equal(data.training_batch(1, 3, 6).targets, whole.training_batch(1, 3, 6).targets)
    with pytest.raises(RequestError, match=r"training\.short_window=3"):
        ShortWindows(whole, length=3, iterations=3)
    with pytest.raises(RequestError, match=r"training\.short_window=4"):
        ShortWindows(OneBatch(whole), length=4, iterations=3)


@given(length=st.integers(22, 200), T=st.integers(1, 9), rows=st.integers(1, 12), seed=st.integers(0, 3))
def test_shuffled_windows_adjoin_and_come_once_an_epoch(length: int, T: int, rows: int, seed: int) -> None:
    data = ShuffledWindows(text_data(COUNTING[:length], T, train_fraction=0.5))
    in_epoch = max(1, (length // 2) // T - 1)
    batches = [data.training_batch(seed, iteration, rows) for iteration in range(3 * in_epoch // rows + 1)]
    assert all(torch.equal(batch.targets, batch.inputs[0] + 1) for batch in batches)
    starts = torch.cat([batch.inputs[0][:, 0] for batch in batches])[: 3 * in_epoch].view(3, in_epoch)
    for epoch in starts.sort().values:
        assert (epoch.diff() == T).all()
        assert epoch[0] < T
    assert torch.equal(batches[-1].targets, data.training_batch(seed, len(batches) - 1, rows).targets)


def test_splitting_a_batch_loses_nothing() -> None:
    batch = text_data(COUNTING).batch("train", 12, generator(0))
    for parts in (1, 5):
        split = list(batch.split(parts))
        assert len(split) == parts
        assert sum(part.tokens for part in split) == batch.tokens
        rows = sorted(row for part in split for row in torch.cat([*part.inputs, part.targets], dim=1).tolist())
        assert rows == sorted(torch.cat([*batch.inputs, batch.targets], dim=1).tolist())


def test_a_split_must_hold_one_window_and_its_successor() -> None:
    text_data(COUNTING, 99).batch("val", 3, generator(0))
    with pytest.raises(RequestError, match="val split"):
        text_data(COUNTING, 100)


@pytest.mark.parametrize(("batch_size", "rows"), [(32, 4), (5, 3)])
def test_one_batch_has_the_same_few_rows_in_every_iteration(data: TextData, batch_size: int, rows: int) -> None:
    one = OneBatch(data)
    first, later = (one.training_batch(1, iteration, batch_size) for iteration in (0, 100))
    assert first.targets.shape == (rows, 8)
    assert torch.equal(first.targets, later.targets)
    (estimated,) = one.estimation_batches("train", 1, 100, 200, batch_size, 4096)
    assert torch.equal(estimated.inputs[0], first.inputs[0])
    windows = data.training_batch(1, 0, batch_size).targets.tolist()
    assert all(row in windows for row in first.targets.tolist())
    drawn, own = (each.estimation_batches("val", 1, 10, 3, batch_size, 4096) for each in (one, data))
    assert all(torch.equal(batch.targets, expected.targets) for batch, expected in zip(drawn, own, strict=True))
