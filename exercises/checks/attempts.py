"""Running a learner's code: what it returned, its local variables, and the line at which it failed."""

import ast
import contextlib
import inspect
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from exercises.checks.steps import MistakeError, Part


@dataclass
class Attempt:
    """One call of the learner's code."""

    given: SimpleNamespace = field(default_factory=SimpleNamespace)  # the inputs; none if the constructor failed
    value: Any = None
    returned: Any = None  # by the learner's own function; `value` may be what was observed of several calls
    variables: dict[str, Any] = field(default_factory=dict)  # local ones, when the function ended
    error: BaseException | None = None
    fault: str = ""  # what is wrong although the value may be right
    later: Any = None  # what the same module makes of a shorter window afterwards


def attempt(part: Part, answer: Any, case: int = 0) -> Attempt:
    """Run the learner's class or function on the inputs of a case, with gradients and a fixed seed."""
    done, code = Attempt(), code_of(answer)

    def watch(frame: FrameType, event: str, returned: Any) -> None:
        if event == "return" and frame.f_code is code:
            done.variables, done.returned = dict(frame.f_locals), returned

    before = sys.getprofile()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        sys.setprofile(watch)
        try:
            done.given = part.cases[case](answer)
            if part.observe is None:
                done.value, done.fault = _called(part, answer, done.given)
                sys.setprofile(before)  # keep the variables of the calls above
                if isinstance(module := getattr(done.given, "module", None), nn.Module):
                    done.later = module(done.given.x[:1, : max(1, done.given.x.shape[1] - 1)].clone())
            else:
                done.value = part.observe(answer, done.given)
        except (Exception, SystemExit) as error:  # whatever the learner's code raises
            done.error = error
        finally:
            sys.setprofile(before)
    return done


def _called(part: Part, answer: Any, given: SimpleNamespace) -> tuple[Any, str]:
    """What the learner's code returns, and what is wrong with it if it changes its inputs or depends on the call."""
    function = getattr(given, "module", answer)
    inputs = [getattr(given, name) for name in part.inputs]
    values = []
    for is_training in (True, True, False):
        if isinstance(function, nn.Module):
            function.train(is_training)
        copies = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
        values.append(result.clone() if isinstance(result := function(*copies), Tensor) else result)
        for name, x, copy in zip(part.inputs, inputs, copies, strict=True):
            if isinstance(x, Tensor) and not (x.shape == copy.shape and torch.equal(x, copy)):
                fault = f"{name} itself is changed: `+=` or a name that ends in _ writes into the caller's tensor"
                return values[0], fault
    first, second, evaluated = values
    if not _alike(first, second):
        fault = (
            "a second call with the same input gives another result: is something drawn at random, as in dropout? It "
            "must depend on the input alone"
        )
        return first, fault
    if not _alike(first, evaluated):
        fault = "in evaluation mode, after .eval(), it gives another result: it must be the same in both modes"
        return first, fault
    if isinstance(function, nn.Module) and isinstance(first, Tensor) and first.dtype != inputs[0].dtype:
        return first, f"the result is {first.dtype}, and x {inputs[0].dtype}: the next layer cannot read it"
    return first, ""


def _alike(one: Any, other: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return True
    return one.shape == other.shape and one.allclose(other, 1e-4, 1e-5, equal_nan=True)


def code_of(answer: Any) -> CodeType | None:
    """The code of a function, or of a module's `forward`; None if it is not written in Python."""
    function = answer.forward if isinstance(answer, type) and hasattr(answer, "forward") else answer
    return getattr(inspect.unwrap(function), "__code__", None)


@contextlib.contextmanager
def standing_in(answer: Any, standards: dict[str, Any]) -> Iterator[None]:
    """Have a learner's code find these classes and functions under their names, instead of the learner's own."""
    function = answer.forward if isinstance(answer, type) and hasattr(answer, "forward") else answer
    names = getattr(inspect.unwrap(function), "__globals__", {})
    own = {name: names[name] for name in standards if name in names}
    names.update({name: standards[name] for name in own})
    try:
        yield
    finally:
        names.update(own)


def blank_lines(code: CodeType) -> list[int]:
    """The lines of a function that still have a BLANK; none if its source is unknown."""
    try:
        lines, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError):  # a lambda's lines can be part of a statement
        return []
    found = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "BLANK"}
    return sorted(first + number - 1 for number in found)


_TIPS = {  # on what PyTorch says; it would advise to reshape, which mixes the numbers
    "view size is not compatible": ": view and reshape cut the numbers in their order in memory, and exchange no "
    "dimensions; transpose or permute does, after or before them",
    "must match the size of tensor": ": does a sum or mean need keepdim=True, do dimensions need a transpose, "
    "or is a size fixed that varies?",
}


def failure(error: BaseException, file: str) -> str:
    """What an exception says, and the last line of the learner's file that it went through, instead of a traceback."""
    if isinstance(error, MistakeError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}, `{(error.text or '').partition('  #')[0].strip()}`: {error.msg}"
    first = str(error).strip().partition(chr(10))[0].partition(" Use .reshape(")[0]
    said = f"{type(error).__name__}: {first:.200}"
    said += next((tip for words, tip in _TIPS.items() if words in said), "")
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
