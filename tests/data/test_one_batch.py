"""One batch instead of a corpus."""

import pytest
import torch

from gpt.data.batch import OneBatch
from gpt.data.text import TextData


@pytest.mark.parametrize(("batch_size", "rows"), [(32, 4), (5, 3)])
def test_every_iteration_and_the_estimate_of_the_training_loss_have_the_same_few_rows(
    data: TextData, batch_size: int, rows: int
) -> None:
    one = OneBatch(data)
    first, later = (one.training_batch(1, iteration, batch_size) for iteration in (0, 100))
    assert first.targets.shape == (rows, 8)
    assert torch.equal(first.targets, later.targets)
    (estimated,) = one.estimation_batches("train", 1, 100, 200, batch_size, 4096)
    assert torch.equal(estimated.inputs[0], first.inputs[0])
    windows = {tuple(row.tolist()) for row in data.training_batch(1, 0, batch_size).targets}
    assert {tuple(row.tolist()) for row in first.targets} <= windows


def test_validation_is_that_of_the_corpus(data: TextData) -> None:
    one = OneBatch(data)
    for drawn, own in (
        (each.estimation_batches("val", 1, 10, 3, 32, 4096) for each in (one, data)),
        (each.every_target_once("val", 4096) for each in (one, data)),
    ):
        assert all(torch.equal(batch.targets, expected.targets) for batch, expected in zip(drawn, own, strict=True))
