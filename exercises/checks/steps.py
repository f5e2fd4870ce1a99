"""What an exercise is made of: parts to fill in, and the steps in which each part is computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

Given = Callable[[Any], SimpleNamespace]  # the class or function -> inputs; `module` is an instance of a class
Way = Callable[[SimpleNamespace], Any]  # one way to compute a step, from the inputs and the earlier steps


class MistakeError(Exception):
    """A mistake that needs no comparison, such as a layer that is missing; its text tells the learner."""


@dataclass(frozen=True)
class Step:
    """One value on the way to the result, the right way to compute it, and the usual wrong ways."""

    name: str  # of the variable in the exercise; the last step is what is returned
    title: str  # as a sentence begins: "the scores are"
    right: Way
    wrong: Mapping[str, Way]  # by what to tell the learner
    hints: tuple[str, ...]  # each a level deeper: the idea, the formula, the code
    shape: str = ""  # in symbols: "(B, T, D)"


@dataclass(frozen=True)
class Part:
    """A class or function of an exercise that the learner completes."""

    name: str
    cases: tuple[Given, ...]  # of several sizes and kinds, so that no mistake is right by chance
    steps: tuple[Step, ...]
    inputs: tuple[str, ...] = ("x",)  # what is passed, by the names in a case
    observe: Callable[[Any, SimpleNamespace], Any] | None = None  # what to compare, if it is not what is returned
    tolerance: float | tuple[float, ...] = 2e-6  # beside what the rounding of the inputs changes; one for each output
    most_mistakes: int = 3  # that are looked for at once
    outputs: tuple[str, ...] = ()  # names of the values, if there are several
    standard: Any = None  # what later parts use in place of the learner's, so that they are judged by themselves


@dataclass(frozen=True)
class Exercise:
    """A file of blanks."""

    name: str
    title: str
    page: str  # of the course that explains it
    parts: tuple[Part, ...]
    stage: str | None = None  # as what the file's GPT can be trained


def readings(given: SimpleNamespace) -> list[SimpleNamespace]:
    """The inputs, once for each way to read the names that the learner gave to layers; the likeliest comes first."""
    return [SimpleNamespace(**vars(given) | reading) for reading in getattr(given, "readings", [{}])]


def result(part: Part, given: SimpleNamespace) -> dict[str, Any]:
    """The right value of each step, by its name."""
    values = follow(part.steps, [step.right for step in part.steps], given)
    return {step.name: getattr(values, step.name) for step in part.steps}


def follow(steps: tuple[Step, ...], ways: list[Way], given: SimpleNamespace) -> SimpleNamespace:
    """The inputs and the value of each step, computed in these ways."""
    values = SimpleNamespace(**vars(given))
    for step, way in zip(steps, ways, strict=True):
        setattr(values, step.name, way(values))
    return values
