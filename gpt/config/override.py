"""A setting as it is typed, `training.max_iters=100`: parsed once, and passed on as a value."""

import re
from dataclasses import dataclass

from gpt.base.typed import unquoted

_BEGINS = re.compile(r"~(?!/)|\+{0,2}(hydra/)?[\w.@:-]+=")  # A path may begin with ~, too.


@dataclass(frozen=True)
class Override:
    """A word of a command line that sets, adds or deletes a key; `str()` of it is the word again."""

    key: str
    value: str | None = None  # None: the key alone was typed, as in ~schedule
    prefix: str = ""  # + or ++ adds the key, ~ deletes it

    @classmethod
    def parse(cls, word: str) -> "Override":
        """The override that a word stands for, whatever the word."""
        typed, equals, value = word.partition("=")
        key = typed.lstrip("+~")
        return cls(key, value if equals else None, typed.removesuffix(key))

    @staticmethod
    def begins(word: str) -> bool:
        """Whether a word is an override, and not a stage, a run or a file."""
        return _BEGINS.match(word) is not None

    @property
    def text(self) -> str:
        """The value without the quotes around it; "" if there is none."""
        return unquoted(self.value or "")

    def __str__(self) -> str:
        return f"{self.prefix}{self.key}" + ("" if self.value is None else f"={self.value}")
