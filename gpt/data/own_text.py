"""Texts as people have them: in other encodings, and split by lines or files in random order.

The end of a sorted list, or of a log that changes over time, is unlike the rest; a random part is not.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gpt.base.errors import RequestError
from gpt.data.sources import Source

TrainFraction = Annotated[float, Field(gt=0, lt=1)]
SplitBy = Literal["place", "lines", "files"]
Encoding = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=40)]

_SEED = "validation split"  # fixed, so that losses of all runs are over the same text


def read(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a file in any encoding that Python knows; `errors` is for UTF-8 alone.

    Raises RequestError if it is not in this encoding.
    """
    source = Source([path])
    if encoding == "utf-8":
        return source.text(errors)
    try:
        return source.read(0, source.size).decode(encoding)
    except LookupError:
        raise RequestError(f"data.encoding={encoding} is not known: use utf-8, utf-16, latin-1, cp1252, ...") from None
    except UnicodeError as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise RequestError(f"{path} is not text in {encoding}: {reason}") from None


def split_by(by: SplitBy, texts: Sequence[str], train_fraction: float, separator: str) -> tuple[str, str]:
    """The training and the validation split of these texts, with a separator between two of them.

    Raises RequestError as `divided` does.
    """
    if by == "files":
        return divided(texts, train_fraction, separator)
    content = separator.join(texts)
    if by == "lines":
        return divided(lines_in(content), train_fraction)
    boundary = int(train_fraction * len(content))
    return content[:boundary], content[boundary:]


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
    lengths = list(accumulate(map(len, order), initial=0))
    count = sum(length <= train_fraction * lengths[-1] for length in lengths[1:])
    if not 0 < count < len(order):
        parts = "1 part is" if len(order) == 1 else f"{len(order)} parts are"
        raise RequestError(f"{parts} too few to divide into a training and a validation split")
    return between.join(order[:count]), between.join(order[count:])
