"""Splitting a text into training and validation by lines or files, in random order, instead of at one place.

The end of a sorted list, or of a log that changes over time, is unlike the rest; a random part is not.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from gpt.base.errors import RequestError

SplitBy = Literal["place", "lines", "files"]

_SEED = "validation split"  # fixed, so that losses of all runs are over the same text


def lines_in(content: str) -> list[str]:
    """The lines of a text, each with its line end; the last one gets one if it has none."""
    ended = content if content.endswith("\n") else f"{content}\n"
    return [f"{line}\n" for line in ended[:-1].split("\n")]


def divided(parts: Sequence[str], train_fraction: float, between: str = "") -> tuple[str, str]:
    """The parts of a text in random order, as a training and a validation split, with `between` between two of them.

    Raises RequestError if there are too few to divide.
    """
    order = list(parts)
    random.Random(_SEED).shuffle(order)
    lengths = list(accumulate(map(len, order)))
    count = sum(length <= train_fraction * lengths[-1] for length in lengths)
    if not 0 < count < len(order):
        raise RequestError(f"{len(order)} parts are too few to divide into training and validation: data.split=place")
    return between.join(order[:count]), between.join(order[count:])
