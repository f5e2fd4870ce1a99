"""Losses for tests, each over the validation split of one corpus unless it says otherwise."""

from typing import Any

from gpt.base.losses import Loss, LossScope
from gpt.training.state import Evaluation


def exact(nats: float, count: int = 900, of: int = 900, **over: Any) -> Loss:
    """An exact loss over `count` of `of` targets."""
    return Loss(nats=nats, how="exact", over=LossScope(split="val", count=count, of=of, **over))


def estimated(nats: float, weights: int = 0, split: str = "val") -> Loss:
    """An estimated loss of the weights after so many iterations."""
    return Loss(nats=nats, how="estimated", over=LossScope(split=split, drawn="random batches"), weights=weights)


def evaluation(iteration: int, train: float, val: float, tokens: int = 0) -> Evaluation:
    """An evaluation with these losses."""
    return Evaluation(iteration=iteration, train=train, val=val, learning_rates={"all": 0.1}, tokens=tokens)
