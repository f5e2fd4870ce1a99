"""Running a learner's code: what it returned, its local variables, and the line at which it failed."""

import ast
import inspect
import re
import sys
import textwrap
import traceback
from dataclasses import dataclass, field
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from exercises.checks.steps import Part


@dataclass
class Attempt:
    """One call of the learner's code."""

    given: SimpleNamespace = field(default_factory=SimpleNamespace)  # the inputs; none if the constructor failed
    value: Any = None
    returned: Any = None  # by the learner's own function; `value` may be what was observed of several calls
    variables: dict[str, Any] = field(default_factory=dict)  # local ones, when the function ended
    error: Exception | None = None


def attempt(part: Part, answer: Any) -> Attempt:
    """Run the learner's class or function on the part's inputs, with gradients and a fixed seed."""
    done, code = Attempt(), code_of(answer)

    def watch(frame: FrameType, event: str, returned: Any) -> None:
        if event == "return" and frame.f_code is code:
            done.variables, done.returned = dict(frame.f_locals), returned

    before = sys.getprofile()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        sys.setprofile(watch)
        try:
            done.given = part.given(answer)
            done.value = part.run(answer, done.given)
        except Exception as error:  # whatever the learner's code raises
            done.error = error
        finally:
            sys.setprofile(before)
    return done


def code_of(answer: Any) -> CodeType | None:
    """The code of a function, or of a module's `forward`; None if it is not written in Python."""
    function = answer.forward if isinstance(answer, type) and hasattr(answer, "forward") else answer
    return getattr(inspect.unwrap(function), "__code__", None)


def blank_lines(code: CodeType) -> list[int]:
    """The lines of a function that still have a BLANK; none if its source is unknown."""
    try:
        lines, first = inspect.getsourcelines(code)
    except OSError:
        return []
    tree = ast.parse(textwrap.dedent("".join(lines)))
    found = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "BLANK"}
    return sorted(first + number - 1 for number in found)


def failure(error: Exception, file: str) -> str:
    """What an exception says, and the last line of the learner's file that it went through, instead of a traceback."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}, `{(error.text or '').partition('  #')[0].strip()}`: {error.msg}"
    said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}"
    walked = zip(traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__), strict=True)
    own = [(frame, place) for (frame, _), place in walked if place.filename == file]
    if not own and isinstance(error, AttributeError | TypeError):
        return f"{said}. Keep the names and the arguments that the exercise had at first"
    if not own:
        return said
    frame, place = own[-1]
    line = (place.line or "").partition("  #")[0]
    shapes = [
        f"{name} is {tuple(value.shape)}"
        for name in dict.fromkeys(re.findall(r"\w+", line))
        if isinstance(value := frame.f_locals.get(name), Tensor)
    ]
    return f"line {place.lineno}, `{line}`: {said}{'; there, ' if shapes else ''}{', '.join(shapes)}"
