"""The report on an exercise: what is right, what is wrong, what is missing, and hints."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exercises.checks import EXERCISES
from exercises.checks.attempts import failure, standing_in
from exercises.checks.judging import Verdict, judge
from exercises.checks.steps import Exercise
from gpt.base.errors import RequestError


@dataclass(frozen=True)
class Report:
    """A verdict for each part that was checked; as text, a line for each."""

    exercise: Exercise
    verdicts: tuple[Verdict, ...]

    @property
    def is_right(self) -> bool:
        """Whether all of it is."""
        return all(verdict.is_right for verdict in self.verdicts)

    @property
    def state(self) -> str:
        """In a few words, for a list."""
        if self.is_right:
            return "right"
        right = sum(verdict.is_right for verdict in self.verdicts)
        is_unfinished = any(verdict.is_unfinished for verdict in self.verdicts)
        done = f"{right} of {len(self.verdicts)} right, " if right else ""
        return done + ("blanks left" if is_unfinished else "not right yet")

    def hints(self) -> tuple[str, tuple[str, ...]]:
        """For the first step that is not right, its name and hints, each a level deeper; none if all is right."""
        for verdict in self.verdicts:
            if verdict.step is not None:
                return f"{verdict.part}, {verdict.step.name}", verdict.step.hints
        return "", ()

    def hint(self, level: int = 1) -> str:
        """The first `level` hints for the first step that is not right."""
        place, hints = self.hints()
        if not hints:
            return "Nothing is missing."
        shown = min(max(level, 1), len(hints))
        lines = [f"hint {i} of {len(hints)} ({place})\n{_indented(hint)}" for i, hint in enumerate(hints[:shown], 1)]
        if level > len(hints):
            lines.append("There is no further hint.")
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join(f"{verdict.part}: {verdict.message}" for verdict in self.verdicts)

    __repr__ = __str__  # what a notebook shows


def check(name: str, *answers: Callable[..., Any]) -> Report:
    """Check an exercise's file or, in a notebook, the classes and functions that you have defined for it.

    They are recognised by their names; if an exercise has a single part, any name will do. Raises RequestError if there
    is no such exercise or part.
    """
    exercise = find(name)
    parts = {part.name: part for part in exercise.parts}
    if not answers:
        return check_file(exercise)
    named = {getattr(answer, "__name__", type(answer).__name__): answer for answer in answers}
    if len(parts) == len(answers) == 1:
        named = dict(zip(parts, answers, strict=True))
    if unknown := named.keys() - parts.keys():
        raise RequestError(f"{name} has no {', '.join(sorted(unknown))}: its parts are {', '.join(parts)}")
    return Report(exercise, tuple(_judged(exercise, named).values()))


def find(name: str) -> Exercise:
    """The exercise of that name. Raises RequestError if there is none."""
    if name not in EXERCISES:
        raise RequestError(f"there is no exercise {name}: choose {', '.join(EXERCISES)}")
    return EXERCISES[name]


def check_file(exercise: Exercise, path: Path | None = None) -> Report:
    """Check an exercise's own file, or another one, such as a student's. Raises UserError if it cannot be read."""
    name, file = f"exercises.{exercise.name}", str(path or f"exercises/{exercise.name}.py")
    sys.modules.pop(name, None)  # in a notebook, the file may have changed since
    found = importlib.util.find_spec(name) if path is None else importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise RequestError(f"{file} is not a Python file")
    try:
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        found.loader.exec_module(module)
    except FileNotFoundError:
        raise RequestError(f"there is no file {file}") from None
    except (Exception, SystemExit) as error:  # whatever the learner's file raises
        return Report(exercise, (Verdict(file, failure(error, str(found.origin)), exercise.parts[0].steps[0]),))
    answers = {part.name: getattr(module, part.name, None) for part in exercise.parts}
    verdicts = _judged(exercise, {name: answer for name, answer in answers.items() if answer is not None})
    missing = {p.name: Verdict(p.name, f"{file} has no {p.name} any more", p.steps[0]) for p in exercise.parts}
    return Report(exercise, tuple((missing | verdicts).values()))


def _judged(exercise: Exercise, answers: dict[str, Any]) -> dict[str, Verdict]:
    """A verdict for each part that there is. A part that is not right is no fault of the parts that use it."""
    verdicts: dict[str, Verdict] = {}
    for part in exercise.parts:
        if part.name in answers:
            earlier = {
                p.name: p.standard for p in exercise.parts[: exercise.parts.index(part)] if p.standard is not None
            }
            is_right = {name: verdicts[name].is_right for name in earlier if name in verdicts}
            with standing_in(answers[part.name], {n: s for n, s in earlier.items() if not is_right.get(n, False)}):
                verdicts[part.name] = judge(part, answers[part.name])
    return verdicts


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
