"""The losses of each seed beside the documented one: a strip of dots, drawn when the site is built.

seeds.js adds the reader's own run to it.
"""

import html
import math
from collections.abc import Iterator, Sequence
from itertools import product
from statistics import mean

from docutils import nodes
from quoting import RESULTS, by_seed
from sphinx.util.docutils import SphinxDirective

from gpt.base.ladder import SMALL
from gpt.config.composing import compose
from gpt.config.reading import read

_ROW = 44  # pixels
_APART = 1.8  # per cent of the width, at least, between two dots at the same height
_MARGIN = 5.0  # per cent of the width, on each side
_TICKS = 5  # at most


class Seeds(SphinxDirective):
    """:::{seeds} STAGE: the losses of the stage's seeds and of the stage below it, from docs/lab/results.md."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The figure, as SVG in the page."""
        self.env.note_dependency(str(RESULTS))
        return [nodes.raw("", figure(self.arguments[0]), format="html")]


def figure(stage: str) -> str:
    """The figure of a stage and, up to v6, of the stage below it, as HTML."""
    losses = by_seed()
    below = SMALL[SMALL.index(stage) - 1] if stage in SMALL[1:] else None
    shown = [name for name in (below, stage) if name is not None]
    documented = {name: _documented(name) for name in shown}
    marks = [*filter(None, documented.values()), *(loss for name in shown for loss in losses[name].values())]
    scale = _Scale(min(marks), max(marks))
    rows = "".join(
        _row(name, list(losses[name].items()), documented[name], scale, i * _ROW, is_own=name == stage)
        for i, name in enumerate(shown)
    )
    comparison = _spread(stage, losses[stage]) if below is None else compared(below, stage, losses)
    return f"""<figure class="seeds" data-stage="{stage}" data-low="{scale.low}" data-high="{scale.high}"
data-margin="{_MARGIN}" data-y="{len(shown) * _ROW - 12}">
<svg role="img" width="100%" height="{len(shown) * _ROW + 34}" aria-label="{html.escape(_in_words(shown, losses))}">
{rows}{_axis(scale, len(shown) * _ROW + 6)}</svg>
<figcaption>{_legend(documented)} {comparison}</figcaption>
</figure>"""


def compared(below: str, stage: str, losses: dict[str, dict[int, float]]) -> str:
    """How far apart the means of two stages are, and how often single runs say the opposite."""
    one, other = list(losses[below].values()), list(losses[stage].values())
    gain = mean(one) - mean(other)
    better, worse = (stage, below) if gain > 0 else (below, stage)
    pairs = [(a < b) == (gain < 0) for a, b in product(one, other)]
    said = f"On average, {better} is {abs(gain):.3f} better than {worse}. "
    if all(pairs):
        return f"{said}All {len(pairs)} pairs with one run of each agree."
    opposite = len(pairs) - sum(pairs)
    says = "1 says" if opposite == 1 else f"{opposite} say"
    return f"{said}Of the {len(pairs)} pairs with one run of each, {sum(pairs)} agree and {says} the opposite."


def _spread(stage: str, losses: dict[int, float]) -> str:
    apart = max(losses.values()) - min(losses.values())
    return f"The {len(losses)} runs of {stage} differ in their seed only, and their losses by up to {apart:.3f}."


def _documented(stage: str) -> float | None:
    documented = compose(read("train", [f"model={stage}"])).documented
    return documented.train if documented.val is None else documented.val


def _legend(documented: dict[str, float | None]) -> str:
    text = '<span class="dot">●</span> the exact loss of one seed, in nats per character.'
    if not any(documented.values()):
        return text
    of_v1 = "; that of v1 is the loss of one training mini-batch" if "v1" in documented else ", an estimate"
    return f"{text} ◇ the documented loss{of_v1}."


def _in_words(shown: Sequence[str], losses: dict[str, dict[int, float]]) -> str:
    return ". ".join(f"{name}: " + ", ".join(f"{x:.4f}" for x in sorted(losses[name].values())) for name in shown)


class _Scale:
    """Losses as places on the axis, in per cent of its width."""

    def __init__(self, low: float, high: float) -> None:
        steps = (m * 10.0**n for n in (-3, -2, -1, 0) for m in (1, 2, 5))
        self.step = next(step for step in steps if (high - low) / step <= _TICKS)
        self.low, self.high = low, high

    def __call__(self, loss: float) -> str:
        return f"{_MARGIN + (100 - 2 * _MARGIN) * (loss - self.low) / (self.high - self.low):.2f}%"

    def ticks(self) -> Iterator[float]:
        """Round losses within the axis."""
        for n in range(math.ceil(self.low / self.step), math.floor(self.high / self.step) + 1):
            yield n * self.step


def _row(
    stage: str, losses: list[tuple[int, float]], documented: float | None, scale: _Scale, y: int, *, is_own: bool
) -> str:
    """The name of a stage, and under it a dot for each seed and the documented loss."""
    middle = y + 32
    dots = "".join(
        f'<circle cx="{scale(loss)}" cy="{middle + lane * 10}" r="5"><title>seed {seed}: {loss:.4f}</title></circle>'
        for seed, loss, lane in _lanes(losses, scale)
    )
    mark = ""
    if documented is not None:
        mark = (
            f'<svg class="documented" x="{scale(documented)}" y="{middle}" overflow="visible">'
            f'<path d="M0-8 6 0 0 8-6 0Z"><title>documented: {documented:.4f}</title></path></svg>'
        )
    line = f'<line x1="0" x2="100%" y1="{middle}" y2="{middle}"/>'
    name = f'<text class="stage" x="0" y="{y + 14}">{stage}</text>'
    return f'<g{" class=own" if is_own else ""} style="--stage: var(--{stage})">{name}{line}{dots}{mark}</g>\n'


def _lanes(losses: list[tuple[int, float]], scale: _Scale) -> Iterator[tuple[int, float, float]]:
    """The dots with a lane each, so that none hides another: 0 in the middle, then above and below."""
    last = {0.0: -math.inf, -0.8: -math.inf, 0.8: -math.inf}
    for seed, loss in sorted(losses, key=lambda pair: pair[1]):
        x = float(scale(loss).rstrip("%"))
        lane = next((lane for lane, before in last.items() if x - before >= _APART), min(last, key=lambda k: last[k]))
        last[lane] = x
        yield seed, loss, lane


def _axis(scale: _Scale, y: int) -> str:
    decimals = max(0, -math.floor(math.log10(scale.step)))
    ticks = "".join(
        f'<line x1="{scale(x)}" x2="{scale(x)}" y1="{y}" y2="{y + 5}"/>'
        f'<text x="{scale(x)}" y="{y + 20}">{x:.{decimals}f}</text>'
        for x in scale.ticks()
    )
    return f'<g class="axis"><line x1="0" x2="100%" y1="{y}" y2="{y}"/>{ticks}</g>'
