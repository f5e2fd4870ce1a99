"""A loss that knows what it is of: the targets that it is the mean over, the weights, and how it was measured.

Everything that prints, ranks, draws or compares a loss asks these types. A loss is a mean cross-entropy, in nats per
token. The loss of a text is compared per character, whatever its tokens are.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from gpt.base.record import FiniteFloat, Record, Total

Saved = Literal["best", "last", "averaged"]
Unit = Literal["token", "character", "byte"]
Name = Annotated[str, Field(max_length=200)]

_UNITS: tuple[tuple[str, Unit], ...] = (
    ("nats", "token"),
    ("bits", "token"),
    ("nats", "character"),
    ("bits", "character"),
    ("bits", "byte"),
)
SPLITS = {"train": "training split", "val": "validation split", "test": "test split"}


class _WithoutDefaults(Record):
    """A record that leaves out what has its default."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {name: value for name, value in serialise(self).items() if getattr(self, name) != fields[name].default}


class LossScope(_WithoutDefaults):
    """The targets that a loss is the mean over."""

    split: Name  # train, val or test; or a text, by its name
    corpus: Name = ""  # the beginning of its digest
    vocabulary: Name = ""  # the beginning of its digest
    covers: bool = False  # whether the vocabulary has every character of a text
    token: Name = "token"  # what a token is: a character, a byte, a subword
    count: Total | None = None  # targets that it is the mean over; an estimate, which draws them, has None
    of: Total | None = None  # targets of the whole split
    characters: Total | None = None  # of the text in the counted targets; None if unknown, or if it is not a text
    bytes: Total | None = None  # of that text
    window: Total | None = None  # the length, in tokens, of the windows that a text is read in
    sliding: bool = False  # each target has at least half a window before it; otherwise the windows are adjacent
    answers_only: bool = False  # the targets are the answers at the ends of lines
    left_out: Total = 0  # characters of the split that the vocabulary lacks
    drawn: Name | None = None  # what the batches of an estimate are

    @property
    def what(self) -> str:
        """The split in words, or the text."""
        return SPLITS.get(self.split, self.split)

    @property
    def is_sample(self) -> bool:
        """Whether targets of the split are left out; an estimate draws them anyway."""
        return self.count is not None and self.of is not None and self.count < self.of

    @property
    def counted(self) -> str:
        """The number of targets, and of how many if they are a sample."""
        return f"{self.count:,}" + (f" of {self.of:,}" if self.is_sample else "")

    @property
    def targets(self) -> str:
        """The targets in words."""
        if self.count is None:
            return self.drawn or "random batches"
        return f"{self.counted} targets" if self.is_sample else "every target"

    @property
    def place(self) -> str | None:
        """Where the targets of a sample are: its windows decide that. None for a whole split."""
        if not self.is_sample:
            return None
        return self.counted + (f" in windows of {self.window}" if self.window else "")


class Loss(_WithoutDefaults):
    """A loss, and what it is of. It cannot be ordered or added up: ask for it in a unit."""

    nats: FiniteFloat  # per token
    how: Literal["exact", "estimated", "mini-batch"]
    over: LossScope
    weights: Saved | Total = "last"  # the weights that have it, by name or by their iteration

    @property
    def key(self) -> tuple[Any, ...]:
        """Two losses can be compared if and only if their keys are equal.

        Equal keys mean the same targets. An exact loss over a whole text is compared per character. Its tokens matter
        only if the vocabulary lacks some of the characters.
        """
        over = self.over
        targets = over.split, over.answers_only, over.sliding, over.place
        return self.how, self.unit, *self._text(over), *targets

    def is_of_text(self, over: LossScope) -> bool:
        """Whether a loss of this kind over other targets could be compared with it, going by their text alone."""
        return self._text(self.over) == self._text(over)

    def _text(self, over: LossScope) -> tuple[str, str]:
        is_by_character = self.how == "exact" and over.covers
        return over.corpus, "" if is_by_character else over.vocabulary

    @property
    def objection(self) -> str | None:
        """Why it is not the loss of a whole new text, which a target is for; None if it is."""
        over = self.over
        if over.is_sample:
            return f"by {over.targets} (training.exact_tokens=null takes the whole split)"
        return f"by a part of the {over.what}" if over.left_out else None

    def per(self, unit: Unit) -> float | None:
        """The loss in nats per token, or per character or byte of a text; None if these were not counted."""
        if unit == "token":
            return self.nats
        units = self.over.characters if unit == "character" else self.over.bytes
        return self.nats * (self.over.count or 0) / units if units else None

    def bits_per(self, unit: Unit) -> float | None:
        """The same in bits."""
        nats = self.per(unit)
        return None if nats is None else nats / math.log(2)

    @property
    def unit(self) -> Unit:
        """The unit in which it is compared: a character of a text, otherwise a token."""
        return "character" if self.over.characters else "token"

    @property
    def common(self) -> float:
        """The loss in nats per `unit`."""
        nats = self.per(self.unit)
        return self.nats if nats is None else nats

    @property
    def formatted(self) -> str:
        """The loss as it is compared: "2.0790 nats per character"."""
        return f"{self.common:.4f} {nats_per(self.unit)}"

    def guess(self, vocabulary_size: int) -> Self:
        """The loss of a uniform guess among the tokens, over the same targets."""
        return self.model_copy(update={"nats": math.log(vocabulary_size)})

    def like(self, other: "Loss") -> Self:
        """The loss in the unit of another loss, with the token length counted for that one."""
        over, counted = self.over, other.over
        found = {"count": counted.count, "of": counted.of, "characters": counted.characters, "bytes": counted.bytes}
        return self.model_copy(update={"over": over.model_copy(update=found)})

    @property
    def title(self) -> str:
        """What is measured: "exact val", "estimated train"."""
        return f"{self.how} {self.over.split}"

    @property
    def described(self) -> str:
        """Over which targets it is: "every target of the validation split once"."""
        over = self.over
        if self.how != "exact":
            return f"{self.how} over {over.targets}"
        but = f", {over.left_out:,} of its characters left out" if over.left_out else ""
        how = "in windows that overlap by half" if over.sliding else "once"
        return f"{over.targets} of the {over.what} {how}{but}"

    @property
    def of_weights(self) -> str:
        """Which weights have it: "by the averaged weights"; empty for the last ones."""
        return "" if self.weights == "last" else f"by the {in_words(self.weights)}"

    def in_units(self) -> dict[str, float]:
        """The loss in each unit in which it is known, by its name: "nats per subword", "bits per byte"."""
        found: dict[str, float] = {}
        for measure, unit in _UNITS:
            value = self.per(unit) if measure == "nats" else self.bits_per(unit)
            if value is not None:
                found.setdefault(f"{measure} per {self.over.token if unit == 'token' else unit}", value)
        return found

    def rows(self, name: str) -> list[tuple[str, str, str]]:
        """The loss as rows of a table: name, value and unit, in each unit in which it is known."""
        context = ", each with at least half a window of context" if self.over.sliding else ""
        units = enumerate(self.in_units().items())
        return [("" if i else name, f"{value:.4f}", unit if i else unit + context) for i, (unit, value) in units]

    @property
    def in_other_units(self) -> str:
        """What a loss per token of a text is per character and per byte; empty where tokens are characters."""
        others = [(unit, value) for unit, value in self.in_units().items() if unit.endswith(("character", "byte"))]
        known = [f"{value:.4f} {unit}" for unit, value in others if unit != nats_per(self.over.token)]
        return ", ".join(known) if self.over.token != "character" else ""


def nats_per(unit: str) -> str:
    """The measure of losses in this unit, as axes and tables name it."""
    return f"nats per {unit}"


def in_words(weights: Saved | int) -> str:
    """The best weights, or weights after 640 iterations."""
    return f"weights after {weights} iterations" if isinstance(weights, int) else f"{weights} weights"


def common_unit(losses: Iterable[Loss]) -> Unit:
    """The unit in which all of these losses are known."""
    return "character" if all(loss.unit == "character" for loss in losses) else "token"
