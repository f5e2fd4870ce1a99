"""Documents that have nothing to do with each other: names, poems, chapters."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from gpt.base.choices import PathNames
from gpt.base.errors import RequestError
from gpt.data.own_text import TrainFraction, divided, read
from gpt.data.recall import Lines
from gpt.data.sources import IN_MEMORY, Source, files_of


@dataclass(frozen=True)
class Documents(Lines):
    """Windows that begin with a document or within it, and end with it.

    The separator stands before each document, so that its first character is a target, and after it, so that its end
    is one. Each character is a target once: a document that is longer than a window is cut into windows side by side.
    """

    separator: str = "\n"

    @property
    def padding(self) -> str:
        """Of the separator, which the vocabulary has."""
        return self.separator[0]

    def examples(self, split: str, block_size: int) -> list[tuple[str, int]]:
        """The windows of a split, each with the place of its first target."""
        found = []
        for document in getattr(self, split).split(self.separator):
            text = self.separator + document + self.separator
            for start in range(0, len(text) - 1, block_size):
                window, first = text[start : start + block_size + 1], max(1, len(self.separator) - start)
                if first < len(window):
                    found.append((window, first))
        return found


def documents(
    path: PathNames, separator: Annotated[str, Field(min_length=1)], train_fraction: TrainFraction
) -> Documents:
    """The documents of files, with a separator between two of them; a random part of them is for validation.

    Raises RequestError for more than 16 MB, or for too few of them.
    """
    files = files_of(path)
    if Source(files).bytes_in_files > IN_MEMORY:
        raise RequestError(f"data=documents is for up to {IN_MEMORY / 1e6:.0f} MB: data=text has no limit")
    found = [document for file in files for document in read(file).split(separator) if document.strip()]
    return Documents(*divided(found, train_fraction, separator), separator=separator)
