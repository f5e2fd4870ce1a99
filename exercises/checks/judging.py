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

_RELATIVE = 2e-5  # what two right ways may differ by, of a float32
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
    verdict, tried = Verdict(part.name, "all right"), [attempt(part, answer, case) for case in range(len(part.cases))]
    for case in range(len(part.cases)):
        try:
            verdict = _judged(part, code, tried[case:] + tried[:case])
        except Exception as error:  # a learner's objects can raise wherever they are looked at
            verdict = Verdict(part.name, f"it cannot be compared: {failure(error, code.co_filename)}", part.steps[0])
        if not verdict.is_right:
            break
    return verdict


def _judged(part: Part, code: CodeType, tried: list[Attempt]) -> Verdict:
    """The verdict on the first of these attempts; the others tell whether a mistake explains all."""
    blanks, done = blank_lines(code), tried[0]
    if done.error is not None and not vars(done.given):  # the constructor failed
        return Verdict(part.name, failure(done.error, code.co_filename), part.steps[0], bool(blanks))
    message, step = _told(part, tried, code.co_filename, len(blanks))
    if step is not None and blanks:
        still = f"line{'s' if len(blanks) > 1 else ''} {', '.join(map(str, blanks))} still to fill in"
        message = f"{message}; {still}" if message else still
    return Verdict(part.name, message, step, bool(blanks))


def _told(part: Part, tried: list[Attempt], file: str, blanks: int) -> tuple[str, Step | None]:
    """What is right and what is wrong, and the first step that is not right."""
    done, last = tried[0], part.steps[-1]
    if isinstance(done.error, MistakeError) and not (blanks and "ellipsis" in str(done.error)):
        return str(done.error), last
    if done.error is None:
        for given in readings(done.given):
            right = result(part, given)[last.name]
            if _same(done.value, right, tolerance := _tolerances(part, given)[last.name]):
                fault = done.fault or _gradient_fault(given, done.value, right)
                if (
                    not fault
                    and isinstance(done.later, Tensor)
                    and not _same(done.later, *(x[:1, : done.later.shape[1]] for x in (right, tolerance)))
                ):
                    fault = "a shorter window, passed afterwards, gives another result: is something kept in between?"
                return f"all right{fault and ', but '}{fault}", last if fault else None
        for i, given in enumerate(readings(done.given)):
            most = 1 if i else part.most_mistakes  # the first is the likeliest, and a search takes time
            if mistakes := _recognised(part, given, tried, "", len(part.steps), most):
                return _said(part, mistakes, done.value)
        if done.fault and not blanks:
            return done.fault, last
    given = readings(done.given)[0]
    return _reached(part, tried, given, file, blanks)


def _reached(part: Part, tried: list[Attempt], given: SimpleNamespace, file: str, blanks: int) -> tuple[str, Step]:
    """The same where the result says nothing: how far the local variables are right."""
    done, right, tolerances = tried[0], result(part, given), _tolerances(part, given)
    seen = {
        name: x
        for name, variable in done.variables.items()
        if isinstance(x := _joined(variable), Tensor) and isinstance(right.get(name), Tensor)
    }
    if done.error is None:
        seen[part.steps[-1].name] = done.value
    reached = list(
        itertools.takewhile(lambda s: _same(seen.get(s.name), right[s.name], tolerances[s.name]), part.steps[:-1])
    )
    step = part.steps[len(reached)]
    is_variable = step.name in done.variables and step.name in seen
    if is_variable and (mistakes := _recognised(part, given, tried, step.name, len(reached) + 1)):
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
        symptom = _symptom(given, done.value, right[part.steps[-1].name])
        told = symptom or _difference(seen[step.name], right[step.name], part, step, tolerances[step.name])
        unknown = f"{step.title} not right: {told}"
        if (case := getattr(given, "case", "")) and done.error is None:
            unknown += f". It is right for other inputs, but not for {case}"
    if not unknown and not isinstance(right[step.name], Tensor):  # only the whole is observed: blanks go in order
        step = part.steps[max(0, len(part.steps) - 1 - blanks)]
    return "; ".join([*(f"{known.title} right" for known in reached), *filter(None, [unknown])]), step


def _recognised(
    part: Part, given: SimpleNamespace, tried: list[Attempt], name: str, count: int, most: int = 0
) -> list[tuple[str | None, bool]] | None:
    """What leads to the result, or to the variable `name`, in all attempts: the mistake in each of the first `count`
    steps, or None, and whether the step matters. None if no mistakes lead there.
    """
    value, *others = (_joined(done.variables.get(name)) if name else done.value for done in tried)
    values = value if isinstance(value, tuple | list) else [value]
    if not any(isinstance(x, Tensor | float) and (~torch.as_tensor(x).isnan()).any() for x in values):
        return None  # NaN alone looks like any mistake that leads to it
    steps = part.steps[:count]
    for mistakes in range(1, (most or part.most_mistakes) + 1):
        if mistakes > 2:  # all combinations would take minutes
            steps = tuple(replace(step, wrong=dict(list(step.wrong.items())[:_USUAL])) for step in steps)
        for found, ways, computed in _computed(steps, given, mistakes):
            if _same(value, computed, part.tolerance) and all(
                done.error is not None or _leads(part.steps[:count], ways, done.given, other, part.tolerance)
                for done, other in zip(tried[1:], others, strict=True)
            ):
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


def _leads(steps: tuple[Step, ...], ways: list[Way], given: SimpleNamespace, value: Any, tolerance: Any) -> bool:
    """Whether these ways lead to the value, for some reading of the inputs."""
    with contextlib.suppress(RuntimeError, IndexError, ValueError, TypeError):
        return any(
            _same(value, getattr(follow(steps, ways, one), steps[-1].name), tolerance) for one in readings(given)
        )
    return False


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


def _tolerances(part: Part, given: SimpleNamespace) -> dict[str, Any]:
    """By how much a right value of each step may differ: by more where rounding the inputs changes more."""
    rounded = {
        name: x * (1 + 2e-7 * torch.arange(x.numel()).sin().view_as(x))
        for name, x in vars(given).items()
        if isinstance(x, Tensor) and x.is_floating_point()
    }
    right, other = (result(part, SimpleNamespace(**vars(given) | some)) for some in ({}, rounded))
    return {
        name: part.tolerance
        + 5 * (x.clamp(min=-1e4) - other[name].clamp(min=-1e4)).abs().detach().amax(-1, keepdim=True)
        if isinstance(x, Tensor) and isinstance(part.tolerance, float)
        else part.tolerance
        for name, x in right.items()
    }


def _same(value: Any, right: Any, tolerance: Any) -> bool:
    """Whether two tensors, numbers or tuples of them are equal but for rounding; NaN equals NaN."""
    if isinstance(right, tuple):
        each = tolerance if isinstance(tolerance, tuple) else [tolerance] * len(right)
        return (
            isinstance(value, tuple | list)
            and len(value) == len(right)
            and all(_same(one, other, least) for one, other, least in zip(value, right, each, strict=True))
        )
    if not all(isinstance(x, Tensor | float | int) for x in (value, right)):
        return False
    value, right = torch.as_tensor(value), torch.as_tensor(right)
    return value.shape == right.shape and not _off(value, right, tolerance).any()


def _off(value: Tensor, right: Tensor, tolerance: Any) -> Tensor:
    """Where two tensors of one shape differ."""
    # A score of -10,000 is as good as -inf: softmax gives both the weight 0.
    value, right = (x.detach().double().clamp(min=-1e4) for x in (value, right))
    is_close = right.isfinite() & ((value - right).abs() <= tolerance + _RELATIVE * right.abs()) | (value == right)
    return ~is_close & ~(value.isnan() & right.isnan())


_PLACES = {"B": "window", "H": "head", "T": "position", "N": "row"}  # by the symbol of a dimension


def _symptom(given: SimpleNamespace, value: Any, right: Any) -> str:
    """What sets a result as a whole apart from the right one; empty if nothing is found."""
    if not isinstance(value, Tensor) or not isinstance(right, Tensor) or value.shape != right.shape or not right.dim():
        return ""
    if value.isnan().any():  # which spreads
        return ""
    x = getattr(given, "x", None)
    if (
        isinstance(x, Tensor)
        and x.dim() == 3
        and right.requires_grad
        and value.requires_grad
        and (told := _reading(_reads(value, x), _reads(right, x)))
    ):
        return told
    if _is_near(value, right):
        return ""
    logs = [(p.detach() + 1e-30).log() - (p.detach() + 1e-30).log().mean(-1, keepdim=True) for p in (value, right)]
    if right.dim() == 2 and all((p > 0).all() and _same(p.sum(-1), torch.ones(len(p)), 1e-4) for p in (value, right)):
        slope = (logs[0] * logs[1]).sum() / logs[1].square().sum()
        if _same(logs[0], slope * logs[1], 1e-3):
            return f"the result is the softmax of {slope:.4g} times the right scores"
    if _same(value.flatten().sort().values, right.flatten().sort().values, 1e-5):
        return "the numbers are right, but in other places: a transpose, a roll or a view has moved them"
    return ""


def _is_near(value: Tensor, right: Tensor) -> bool:
    return bool((value - right).abs().max() < 5e-3 * right.abs().max())


def _reads(y: Tensor, x: Tensor) -> Tensor:
    """(B, T, B, T): which positions of x each position of y depends on."""
    rows = [
        torch.autograd.grad(row.square().sum(), x, retain_graph=True, materialize_grads=True)[0]
        for row in y.flatten(0, 1)
    ]
    return (torch.stack(rows).abs().sum(-1) > 0).view(*y.shape[:2], *x.shape[:2])


def _reading(found: Tensor, wanted: Tensor) -> str:
    """Which position reads one that it must not read, or does not read one that it must."""
    among_others = wanted & (wanted.sum((2, 3), keepdim=True) > 1)  # a ReLU alone can hide a position from itself
    for wrong, does in ((found & ~wanted, "reads"), (among_others & ~found, "does not read")):
        for b, t, other, then in wrong.nonzero().tolist()[:1]:
            where = f"position {then}{', which is the future' if then > t and does == 'reads' else ''}"
            return f"in window {b}, position {t} {does} {where}{f' of window {other}' if other != b else ''}"
    return ""


def _difference(value: Any, right: Any, part: Part, step: Step, tolerance: Any) -> str:
    """Where a value differs from the right one."""
    if isinstance(right, tuple):
        if not isinstance(value, tuple | list) or len(value) != len(right):
            return f"there must be {len(right)} values: {', '.join(part.outputs)}"
        each = tolerance if isinstance(tolerance, tuple) else [tolerance] * len(right)
        pairs = zip(part.outputs, value, right, each, strict=True)
        name, one, other, least = next(pair for pair in pairs if not _same(*pair[1:]))
        return f"{name}: {_difference(one, other, part, step, least)}"
    if not isinstance(value, Tensor | float | int):
        return f"it is {'...' if value is ... else type(value).__name__}, and must be a tensor"
    value, right = torch.as_tensor(value).detach(), torch.as_tensor(right).detach()
    if value.shape != right.shape:
        symbols = f"{step.shape} = " if step.shape else ""
        expected = f"{symbols}{tuple(right.shape)}" if right.dim() else "(): a single number"
        return f"the shape is {tuple(value.shape)}, and must be {expected}"
    if right.dim() > 1 and right.shape[-1] == right.shape[-2] and _same(value, right.mT, tolerance):
        return "it is transposed"
    ratio = (value.double() * right).sum() / right.double().square().sum()
    if (
        right.dim()
        and ratio.isfinite()
        and min(abs(ratio), abs(ratio - 1)) > 1e-3
        and _same(value, right * ratio, 1e-5)
    ):
        return f"all of it is {ratio:.4g} times what it must be: a factor is missing, or one too many"
    off = _off(value, right, tolerance)
    place = off.nonzero()[0].tolist()
    found, wanted = value[tuple(place)].item(), right[tuple(place)].item()
    where = f"at {place} it" if place else "it"
    digits = next((n for n in range(4, 17) if f"{found:.{n}g}" != f"{wanted:.{n}g}"), 4)
    cause = " (from 0/0, 0 * inf, or the softmax of a row that is -inf throughout)" if found != found else ""
    told = f"{where} is {found:.{digits}g}{cause}, and must be {wanted:.{digits}g}"
    for dim, symbol in enumerate(step.shape.strip("()").split(", ") if right.dim() else ()):
        wrong = off.movedim(dim, 0).flatten(1).any(1) if symbol in _PLACES else torch.ones(1)
        if not wrong.all():
            i, j = (some.nonzero()[0].item() for some in (~wrong, wrong))
            told += f"; {_PLACES[symbol]} {i} is right, and {_PLACES[symbol]} {j} is not"
            break
    near = ": nearly right. Is something rounded, in half precision, or is a small number added?"
    return told + (near if _is_near(value, right) else "")


def _gradient_fault(given: SimpleNamespace, value: Any, right: Any) -> str:
    """What keeps a right result from being trained with; empty if nothing does."""
    module = getattr(given, "module", None)
    leaves: dict[str, Tensor] = dict(module.named_parameters()) if isinstance(module, nn.Module) else {}
    leaves |= {name: x for name, x in vars(given).items() if isinstance(x, Tensor) and x.requires_grad and x.is_leaf}
    if not leaves or not isinstance(right, Tensor) or not right.requires_grad:
        return ""
    if not isinstance(value, Tensor) or not value.requires_grad:
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
        due = torch.zeros_like(leaves[name]) if other is None else other
        if one is not None and not _same(one, due, 1e-3 * (1 + due.abs().max().item())):
            return f"the gradient of {name} is not right: is a part of the computation detached, or a gradient changed?"
    return ""
