"""Judging a part: the learner's result is compared with the right one and with those of the usual mistakes.

Only results count, so every right way passes, however it is written. If the result is wrong, each combination of right
and wrong ways to compute the steps is tried, those with the fewest mistakes first; the one with the learner's result
says which steps are right and what is wrong with the others. Local variables that have the names of steps say how far
an unfinished attempt has got.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import CodeType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from exercises.checks.attempts import Attempt, attempt, blank_lines, code_of, failure
from exercises.checks.steps import MistakeError, Part, Step, Way, follow, readings, result

_USUAL = 4  # the first mistakes of a step are the most frequent ones: only they are looked for three at a time


@dataclass(frozen=True)
class Verdict:
    """What to tell the learner about a part."""

    part: str
    message: str
    step: Step | None = None  # the first that is not right; None if all are
    is_unfinished: bool = False  # a BLANK is left

    @property
    def is_right(self) -> bool:
        """Whether the part is done."""
        return self.step is None


def judge(part: Part, answer: Any) -> Verdict:
    """Run a learner's class or function on small tensors, and compare."""
    code = code_of(answer)
    if code is None:
        return Verdict(part.name, "this must be a class or function of your own", part.steps[0])
    verdict = Verdict(part.name, "all right")
    for case in range(len(part.cases)):
        try:
            verdict = _judged(part, answer, code, case)
        except Exception as error:  # a learner's objects can raise wherever they are looked at
            verdict = Verdict(part.name, f"it cannot be compared: {failure(error, code.co_filename)}", part.steps[0])
        if not verdict.is_right:
            break
    return verdict


def _judged(part: Part, answer: Any, code: CodeType, case: int) -> Verdict:
    """The verdict on one case."""
    blanks, done = blank_lines(code), attempt(part, answer, case)
    if done.error is not None and not vars(done.given):  # the constructor failed
        return Verdict(part.name, failure(done.error, code.co_filename), part.steps[0], bool(blanks))
    message, step = _told(part, done, code.co_filename, len(blanks))
    if step is not None and blanks:
        still = f"line{'s' if len(blanks) > 1 else ''} {', '.join(map(str, blanks))} still to fill in"
        message = f"{message}; {still}" if message else still
    return Verdict(part.name, message, step, bool(blanks))


def _told(part: Part, done: Attempt, file: str, blanks: int) -> tuple[str, Step | None]:
    """What is right and what is wrong, and the first step that is not right."""
    last = part.steps[-1]
    if isinstance(done.error, MistakeError) and not (blanks and "ellipsis" in str(done.error)):
        return str(done.error), last
    if done.error is None:
        for given in readings(done.given):
            right = result(part, given)[last.name]
            if _same(done.value, right, part.tolerance):
                fault = done.fault or _gradient_fault(given, done.value, right)
                return f"all right{fault and ', but '}{fault}", last if fault else None
        for i, given in enumerate(readings(done.given)):
            most = 1 if i else part.most_mistakes  # the first is the likeliest, and a search takes time
            if mistakes := _recognised(part, given, done.value, len(part.steps), most):
                return _said(part, mistakes, done.value)
        if done.fault and not blanks:
            return done.fault, last
    given = readings(done.given)[0]
    return _reached(part, done, given, file, blanks)


def _reached(part: Part, done: Attempt, given: SimpleNamespace, file: str, blanks: int) -> tuple[str, Step]:
    """The same where the result says nothing: how far the local variables are right."""
    right = result(part, given)
    seen = {
        name: x
        for name, variable in done.variables.items()
        if isinstance(x := _joined(variable), Tensor) and isinstance(right.get(name), Tensor)
    }
    if done.error is None:
        seen[part.steps[-1].name] = done.value
    reached = list(itertools.takewhile(lambda s: _same(seen.get(s.name), right[s.name], part.tolerance), part.steps))
    step = part.steps[len(reached)]
    if step.name in seen and (mistakes := _recognised(part, given, seen[step.name], len(reached) + 1)):
        return _said(part, mistakes, seen[step.name])
    if done.error is not None and step.name not in seen:
        is_due = blanks and "ellipsis" in str(done.error)  # to a BLANK
        unknown = "" if is_due else failure(done.error, file)
    elif blanks and not isinstance(seen.get(step.name), Tensor):
        unknown = ""
    elif done.error is None and done.returned is None:
        unknown = "it returns None: does it end with `return`?"
    else:
        if step.name not in seen:  # the learner's variables have other names
            step = part.steps[-1]
        unknown = f"{step.title} not right: {_difference(seen[step.name], right[step.name], part, step)}"
    if not unknown and not isinstance(right[step.name], Tensor):  # only the whole is observed: blanks go in order
        step = part.steps[max(0, len(part.steps) - 1 - blanks)]
    return "; ".join([*(f"{known.title} right" for known in reached), *filter(None, [unknown])]), step


def _recognised(
    part: Part, given: SimpleNamespace, value: Any, count: int, most: int = 0
) -> list[tuple[str | None, bool]] | None:
    """What leads to `value`: the mistake in each of the first `count` steps, or None, and whether the step matters.

    None if no mistakes lead there.
    """
    values = value if isinstance(value, tuple | list) else [value]
    if not any(isinstance(x, Tensor | float) and (~torch.as_tensor(x).isnan()).any() for x in values):
        return None  # NaN alone looks like any mistake that leads to it
    steps = part.steps[:count]
    for mistakes in range(1, (most or part.most_mistakes) + 1):
        if mistakes > 2:  # all combinations would take minutes
            steps = tuple(replace(step, wrong=dict(list(step.wrong.items())[:_USUAL])) for step in steps)
        for found, ways, computed in _computed(steps, given, mistakes):
            if _same(value, computed, part.tolerance):
                return [(mistake, _matters(part, ways, given, i)) for i, mistake in enumerate(found)]
    return None


def _computed(
    steps: tuple[Step, ...], values: SimpleNamespace, mistakes: int
) -> Iterator[tuple[list[str | None], list[Way], Any]]:
    """Each way to compute the steps with that many mistakes: the mistakes, the ways, and the value of the last step."""
    if mistakes > len(steps):
        return
    step, rest = steps[0], steps[1:]
    wrong = list(step.wrong.items()) if mistakes else []
    for mistake, way in [(None, step.right), *wrong]:
        left = mistakes - (mistake is not None)
        with contextlib.suppress(
            RuntimeError, IndexError, ValueError, TypeError
        ):  # shapes that do not fit: not the way
            value = way(values)
            if not rest:
                if left == 0:
                    yield [mistake], [way], value
                continue
            later = SimpleNamespace(**vars(values) | {step.name: value})
            for found, ways, last in _computed(rest, later, left):
                yield [mistake, *found], [way, *ways], last


def _matters(part: Part, ways: list[Way], given: SimpleNamespace, place: int) -> bool:
    """Whether the last step would differ without the one at `place`, as it would not if a later one skips it."""
    steps = part.steps[: len(ways)]
    spoilt = [*ways[:place], lambda s: ways[place](s) * float("nan"), *ways[place + 1 :]]
    with contextlib.suppress(RuntimeError, IndexError, TypeError):  # not a number, or not one that can be spoilt
        with_it, without = (getattr(follow(steps, some, given), steps[-1].name) for some in (ways, spoilt))
        return not _same(without, with_it, part.tolerance)
    return True


def _joined(value: Any) -> Any:
    """Tensors of one shape in a list or tuple, as `chunk` returns them, as one tensor."""
    if isinstance(value, tuple | list) and value and all(isinstance(x, Tensor) for x in value):
        with contextlib.suppress(RuntimeError):  # of several shapes
            return torch.stack(list(value))
    return value


def _said(part: Part, found: list[tuple[str | None, bool]], value: Any) -> tuple[str, Step]:
    """As in "the scores are right; the mask is transposed; the rest is right", and the first step with a mistake."""
    wrong = [i for i, (mistake, _) in enumerate(found) if mistake]
    if isinstance(value, Tensor) and value.isnan().any():
        wrong = wrong[:1]  # NaN hides what else is wrong
    said = [f"{part.steps[i].title} right" for i in range(wrong[0]) if found[i][1]]
    said += [str(found[i][0]) for i in wrong]
    rest = [mistake for mistake, _ in found[wrong[-1] + 1 :]]
    if rest and not any(rest) and len(found) == len(part.steps):
        said.append("the rest is right")
    return "; ".join(said), part.steps[wrong[0]]


def _same(value: Any, right: Any, tolerance: float) -> bool:
    """Whether two tensors, numbers or tuples of them are equal but for rounding; NaN equals NaN."""
    if isinstance(right, tuple):
        return isinstance(value, tuple | list) and len(value) == len(right) and all(
            _same(one, other, tolerance) for one, other in zip(value, right, strict=True)
        )  # fmt: skip
    if not all(isinstance(x, Tensor | float | int) for x in (value, right)):
        return False
    if isinstance(value, Tensor) and isinstance(right, Tensor) and value.shape != right.shape:
        return False
    # A score of -10,000 is as good as -inf: softmax gives both the weight 0.
    value, right = (torch.as_tensor(x).detach().double().clamp(min=-1e4) for x in (value, right))
    return value.shape == right.shape and torch.allclose(value, right, 1e-4, tolerance, equal_nan=True)


def _difference(value: Any, right: Any, part: Part, step: Step) -> str:
    """Where a value differs from the right one."""
    if isinstance(right, tuple):
        if not isinstance(value, tuple | list) or len(value) != len(right):
            return f"there must be {len(right)} values: {', '.join(part.outputs)}"
        pairs = zip(part.outputs, value, right, strict=True)
        name, one, other = next(pair for pair in pairs if not _same(pair[1], pair[2], part.tolerance))
        return f"{name}: {_difference(one, other, part, step)}"
    if not isinstance(value, Tensor | float | int):
        return f"it is {'...' if value is ... else type(value).__name__}, and must be a tensor"
    value, right = torch.as_tensor(value).detach(), torch.as_tensor(right).detach()
    if value.shape != right.shape:
        symbols = f"{step.shape} = " if step.shape else ""
        expected = f"{symbols}{tuple(right.shape)}" if right.dim() else "(): a single number"
        return f"the shape is {tuple(value.shape)}, and must be {expected}"
    if right.dim() > 1 and right.shape[-1] == right.shape[-2] and _same(value, right.mT, part.tolerance):
        return "it is transposed"
    ratio = (value.double() * right).sum() / right.double().square().sum()
    if right.dim() and ratio.isfinite() and ratio.abs() > 1e-3 and _same(value, right * ratio, part.tolerance):
        return f"all of it is {ratio:.4g} times what it must be: a factor is missing, or one too many"
    place = (~torch.isclose(value.double(), right.double(), 1e-4, part.tolerance)).nonzero()[0].tolist()
    found, wanted = value[tuple(place)].item(), right[tuple(place)].item()
    where = f"at {place} it" if place else "it"
    cause = " (from 0/0, 0 * inf, or the softmax of a row that is -inf throughout)" if found != found else ""
    return f"{where} is {found:.4g}{cause}, and must be {wanted:.4g}"


def _gradient_fault(given: SimpleNamespace, value: Any, right: Any) -> str:
    """What keeps a right result from being trained with; empty if nothing does."""
    module = getattr(given, "module", None)
    leaves: dict[str, Tensor] = dict(module.named_parameters()) if isinstance(module, nn.Module) else {}
    leaves |= {name: x for name, x in vars(given).items() if isinstance(x, Tensor) and x.requires_grad and x.is_leaf}
    if not leaves or not isinstance(right, Tensor) or not right.requires_grad:
        return ""
    if not value.requires_grad:
        return "no gradient gets through: is there a .detach(), .item(), .data or no_grad?"
    probe = torch.linspace(-1, 1.5, right.numel()).view_as(right)
    try:
        wanted, found = (
            torch.autograd.grad((y * probe).sum(), list(leaves.values()), retain_graph=True, allow_unused=True)
            for y in (right, value)
        )
    except RuntimeError as error:
        if "inplace" in str(error):
            return "it cannot be trained: `+=` or a name that ends in _ overwrites what the gradient needs"
        raise
    pairs = list(zip(leaves, found, wanted, strict=True))
    if without := [name for name, one, other in pairs if one is None and other is not None and other.any()]:
        return f"no gradient reaches {', '.join(without)}: is there a .detach() or .data?"
    for name, one, other in pairs:
        if one is not None and not _same(one, torch.zeros_like(one) if other is None else other, 1e-3):
            return f"the gradient of {name} is not right: is a part of the computation detached, or a gradient changed?"
    return ""
