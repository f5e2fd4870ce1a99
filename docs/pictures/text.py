"""Texts in pictures, and the characters of a run."""

from gpt.data.tokenizer import TextTokenizer
from gpt.session.trained import TrainedRun
from gpt.tasks import Continuation


def visible(text: str) -> list[str]:
    """The characters of a text, with signs for the blank ones."""
    return [{" ": "␣", "\n": "↵"}.get(character, character) for character in text]


def tokenizer_of(run: TrainedRun) -> TextTokenizer:
    """The tokenizer of a run that continues a text."""
    assert isinstance(run.task, Continuation)
    return run.task.tokenizer
