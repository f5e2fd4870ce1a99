"""The moving average of the weights is what its formula says, and a resumed one is that of one long run."""

import pytest
import torch

from gpt.data.text import TextData
from gpt.training.averaging import MovingAverage
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from tests.training.helpers import bits, small_state, train_state


class Weights(Watcher):
    """The weights after every update."""

    def __init__(self, state: TrainingState) -> None:
        self.kept = [self.of(state)]

    def of(self, state: TrainingState) -> dict[str, torch.Tensor]:
        return {name: x.clone().double() for name, x in state.model.state_dict().items()}

    def stepped(self, state: TrainingState) -> None:
        self.kept.append(self.of(state))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_average_moves_by_its_decay_which_is_smaller_at_first(decay: float, data: TextData) -> None:
    state = small_state("v6")
    weights = Weights(state)
    train_state(state, data, watchers=[weights, MovingAverage(state, decay)])
    for name, average in state.model.state_dict().items():
        expected = weights.kept[0][name]
        for t, later in enumerate(weights.kept[1:], start=1):
            d = min(decay, (1 + t) / (10 + t))
            expected = d * expected + (1 - d) * later[name]
        assert torch.allclose(average.double(), expected, atol=1e-6)


def test_an_average_that_begins_late_begins_with_the_weights_it_finds(data: TextData) -> None:
    state = small_state("v5")
    train_state(state, data, max_iters=10)
    MovingAverage(state, 0.9)
    assert bits(state.average) == bits(state.model.state_dict())
