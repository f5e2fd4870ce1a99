"""How a text is divided into a training and a validation split."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from gpt.base.errors import RequestError
from gpt.config.values import Escapes

Separator = Annotated[str, Escapes()]  # between two texts
TrainFraction = Annotated[float, Field(gt=0, lt=1)]
SplitBy = Literal["place", "lines", "files"]
_SEED = "validation split"  # fixed, so that losses of all runs are over the same text


def split_by(by: SplitBy, texts: Sequence[str], train_fraction: float, separator: str) -> tuple[str, str]:
    """The splits of these texts, joined by a separator. Raises RequestError if they are too few to divide."""
    if by == "files":
        return split_parts(with_copies(texts, separator), train_fraction, separator)
    content = separator.join(texts)
    if by == "place":
        return split_at(content, train_fraction)
    ended = content if content.endswith("\n") else f"{content}\n"
    return split_parts([f"{line}\n" for line in ended[:-1].split("\n")], train_fraction)


def with_copies(parts: Iterable[str], between: str) -> list[str]:
    """The different parts of a text, each joined with its copies, so that none is in two splits."""
    return [between.join([part] * count) for part, count in Counter(parts).items()]


def split_at(content: str, train_fraction: float) -> tuple[str, str]:
    """A text as a training split and, after it, a validation split."""
    boundary = int(train_fraction * len(content))
    return content[:boundary], content[boundary:]


def split_parts(parts: Sequence[str], train_fraction: float, between: str = "") -> tuple[str, str]:
    """The parts of a text in random order, joined as two splits. Raises RequestError if one would be empty."""
    order = list(parts)
    random.Random(_SEED).shuffle(order)
    lengths = list(itertools.accumulate(map(len, order), initial=0))
    count = sum(length <= train_fraction * lengths[-1] for length in lengths[1:])
    if not 0 < count < len(order):
        parts = "1 part is" if len(order) == 1 else f"{len(order)} parts are"
        raise RequestError(f"{parts} too few to divide into a training and a validation split")
    return between.join(order[:count]), between.join(order[count:])
