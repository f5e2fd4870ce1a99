"""The graph of a small loss, to step through: drawn when the site is built, with numbers by plain/without_torch.py.

graph.js adds the buttons. Without it, all values and gradients are shown.
"""

import re
from itertools import pairwise
from typing import Any, NamedTuple

from course.answers.without_torch import Value

# The numbers in the order of computation, each with its column and row in the picture. The model reads `F`, the first
# character of tiny Shakespeare, as x1 and x2. The second is `i`: a is the logit of a vowel, b of any other character.
_GRAPH = """
a1 = Value(-0.7)                0    0
x1 = Value(0.9)                 1    0
b1 = Value(-1.0)                2    0
a2 = Value(0.4)                 3    0
x2 = Value(-1.4)                4    0
b2 = Value(-0.1)                5    0
a1x1 = a1 * x1                  0.5  1
a2x2 = a2 * x2                  3.5  1
a = a1x1 + a2x2                 1.5  2
b1x1 = b1 * x1                  1.5  1
b2x2 = b2 * x2                  4.5  1
b = b1x1 + b2x2                 3.5  2
exp_a = a.exp()                 1.5  3
exp_b = b.exp()                 3.5  3
total = exp_a + exp_b           4.5  4
inverse = total**-1             3    4
p = exp_a * inverse             1.5  4
log_p = p.log()                 1.5  5
minus = Value(-1.0)             4.5  5
loss = log_p * minus            3    5
"""
_SLOPES = {  # the first whose sign is in the code
    ".exp": "slope: exp itself",
    ".log": "slope: 1 / p",
    "**": "slope: -1 / s²",
    "*": "slope: the other factor",
    "+": "slope: 1",
}
_COLUMN, _ROW, _WIDTH, _HEIGHT = 60, 74, 56, 50  # pixels


class Step(NamedTuple):
    """What a step does, as HTML; the number that it is about; those that this is computed from; a gradient."""

    words: str
    name: str
    parts: tuple[str, ...]
    gradient: str = ""


def computed() -> tuple[dict[str, Any], list[Step]]:
    """The numbers, each a `Value`, and the steps by which they and their gradients are computed."""
    numbers: dict[str, Any] = {}
    steps, codes = [], dict(re.findall(r"(\w+) = (.*?)  ", _GRAPH))
    for name, code in codes.items():
        numbers[name] = eval(code, {"Value": Value}, numbers)
    names = {number: name for name, number in numbers.items()}
    for name, number in numbers.items():
        if number.inputs:
            said = re.sub(r"(\w+)\.(\w+)\(\)", r"\2(\1)", codes[name])
            filled = re.sub(r"\w+", lambda word: _text(numbers[word[0]].data) if word[0] in numbers else word[0], said)
            words = f"Forwards: <code>{name} = {said} = {filled} = {_text(number.data)}</code>"
            steps.append(Step(words, name, tuple(names[part] for part in number.inputs)))
    number.grad = 1.0
    steps.append(Step(f"Backwards: <code>{name}.grad = 1</code>, its slope by itself", name, (name,), "1"))
    for name, number in reversed(numbers.items()):
        for part, slope in zip(number.inputs, number.slopes, strict=True):  # as in Value.backward
            said = f"{_text(slope)} * {_text(number.grad)}"
            said = f"{_text(part.grad)} + {said}" if part.grad else said
            part.grad += slope * number.grad
            words = f"<code>{names[part]}.grad = {said} = {_text(part.grad)}</code>"
            why = next(rule for sign, rule in _SLOPES.items() if sign in codes[name])
            words = f"Backwards from <code>{name}</code>: {words}; {why}"
            steps.append(Step(words, name, (names[part],), _text(part.grad)))
    return numbers, steps


def in_words() -> str:
    """The steps, as HTML that opens."""
    items = "".join(f"<li>{step.words}</li>\n" for step in computed()[1])
    return f"<details>\n<summary>All steps in words</summary>\n<ol>\n{items}</ol>\n</details>\n"


def figure() -> str:
    """The graph and its steps, as HTML. Attributes say which steps are about a part, and from which on it is shown."""
    numbers, steps = computed()
    places = {
        name: ((float(column) + 0.5) * _COLUMN, (float(row) + 0.5) * _ROW)
        for name, column, row in re.findall(r"(\w+) = .*  ([\d.]+) +(\d)\n", _GRAPH)
    }
    shown = ""
    for name, number in numbers.items():
        for part in (part for part, other in numbers.items() if other in number.inputs):
            (x, y), (u, v) = places[part], places[name]
            at = [i for i, step in enumerate(steps, 1) if step.name == name and part in step.parts]
            shown += f'<path {_at(at)} d="M{x:g} {y:g} {(x + u) / 2:g} {(y + v) / 2:g} {u:g} {v:g}"/>\n'
    for name, (x, y) in places.items():
        at = [i for i, step in enumerate(steps, 1) if name in (step.name, *step.parts)]
        gradients = [(i, step.gradient) for i, step in enumerate(steps, 1) if step.gradient and name in step.parts]
        texts = f'<text y="4" data-from="{at[0] if numbers[name].inputs else 0}">{_text(numbers[name].data)}</text>'
        for (i, text), (until, _) in pairwise([*gradients, (None, "")]):
            replaced = f' absent" data-until="{until}' if until else ""
            texts += f'<text y="19" data-from="{i}" class="gradient{replaced}">{text}</text>'
        box = f'<rect x="{-_WIDTH / 2:g}" y="{-_HEIGHT / 2:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        shown += f'<g {_at(at)} transform="translate({x:g} {y:g})">{box}<text y="-12">{name}</text>{texts}</g>\n'
    width, height = (max(place[i] for place in places.values()) for i in (0, 1))
    size = 'markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" refX="4" refY="4" orient="auto"'
    ways = {"forwards": "M1 0 7 4 1 8Z", "backwards": "M7 0 1 4 7 8Z"}
    markers = "".join(f'<marker id="{way}" {size}><path d="{d}"/></marker>\n' for way, d in ways.items())
    return f"""<figure class="graph">
<svg viewBox="0 0 {width + _COLUMN / 2:g} {height + _ROW / 2:g}" role="img"
aria-label="How the loss is computed: {len(numbers)} numbers, each with its value and its gradient">
{markers}{shown}</svg>
{in_words()}</figure>"""


def _at(steps: list[int]) -> str:
    return f'data-at="{" ".join(map(str, steps))}"'


def _text(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")
