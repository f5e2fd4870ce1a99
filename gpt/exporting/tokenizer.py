"""tokenizer.json: a run's vocabulary in the format of the library `tokenizers`, which the hub's own tools read."""

from pathlib import Path

from tokenizers import Tokenizer

from gpt.base.files import parsed, parsing, read_text_file
from gpt.data.vocabulary import Vocabulary, parts_of
from gpt.tasks import Task

NAME = "tokenizer.json"


def as_tokenizer(task: Task) -> Tokenizer:
    """The tokenizer of a task. Raises RequestError if it cannot be converted."""
    return Tokenizer.from_str(task.as_json())


def vocabulary_of(path: Path, kind: str) -> Vocabulary:
    """The vocabulary of this kind in a tokenizer.json that this project exported.

    Raises UserError for other or damaged files.
    """
    content = read_text_file(path, largest=2 * Vocabulary.largest)  # it numbers the subwords, too
    with parsing(path):
        tokens, merges = parts_of(parsed(content, path))
        return Vocabulary(kind=kind, vocabulary=tokens, merges=merges, corpus="")
