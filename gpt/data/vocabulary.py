"""The data of a tokenizer: characters, or subwords and their merges."""

from typing import Annotated

from pydantic import Field

from gpt.base.records import Record

PAD = 0  # the subword that pads sequences to the length of the longest; no real token attends to it


class Vocabulary(Record):
    """tokenizer.json: the data of a tokenizer."""

    vocabulary: Annotated[str | list[str], Field(min_length=1)]  # of characters, or of subwords
    merges: list[tuple[str, str]] | None = None  # of subwords
    corpus: str  # the digest of the corpus that it was built from
    # The fingerprints of the corpus's files, by the loader's hyperparameter:
    files: dict[str, str] = Field(default_factory=dict)
