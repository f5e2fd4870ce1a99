"""The pictures of the course, drawn by the code that they are about and from small runs, when the site is built.

A picture is a function that returns a figure; it is drawn once in light and once in dark colours. Those that show
trained models take the runs of docs/_ext/course_runs.py, by name.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from course_runs import is_older
from matplotlib.figure import Figure
from quoting import ARCHITECTURES

from gpt.session.trained import TrainedRun
from pictures import (
    architectures,
    attention,
    depth,
    embeddings,
    flow,
    probabilities,
    recalling,
    sequences,
    shapes,
    training,
)
from pictures.theme import THEMES, emptied, save

PICTURES: dict[str, Callable[[], Figure] | Callable[[Mapping[str, TrainedRun]], Figure]] = {
    **flow.FLOWS,
    **flow.READINGS,
    "windows": training.windows,
    "losses": training.losses,
    "dropout": training.dropout,
    "bigram-table": probabilities.bigram_table,
    "temperature": probabilities.temperature,
    "truncation": probabilities.truncation,
    "embedding-map": embeddings.embedding_map,
    "schedules": training.schedules,
    "trust": probabilities.trust,
    "causal-mask": attention.causal_mask,
    "heads-apart": shapes.heads_apart,
    "induction": recalling.induction,
    "units": attention.units,
    "rotation": attention.rotation,
    "gradient-depth": depth.gradient_over_depth,
    "residual": depth.with_and_without_residuals,
    "layer-norm": depth.layer_norm,
    "masks": sequences.masks,
    "positions": sequences.positions,
    "cross-attention": sequences.cross_attention,
    "remembering": architectures.remembering,
    "cost": architectures.cost,
    "parts": architectures.parts,
    "equal-parameters": architectures.losses,
}
# On the site, a reader draws what he expects on the empty axes of these: docs/_static/guesses.js.
GUESSED = ("losses", "remembering", "cost", "parts", "equal-parameters")
EMPTY = {f"{name}-empty": emptied(PICTURES[name]) for name in GUESSED}


def draw_stale(runs: Mapping[str, TrainedRun], folder: Path, pictures: Mapping[str, Callable[..., Figure]]) -> None:
    """Draw the pictures in `folder` that are not there, or are older than what they are drawn from."""
    for name, picture in pictures.items():
        for theme in THEMES:
            path = folder / f"{name}-{theme}.svg"
            if is_older(path, _sources(runs)):
                save(picture, runs, theme, path)


def _sources(runs: Mapping[str, TrainedRun]) -> list[Path]:
    """What the pictures are drawn from: their code, the tables, and the runs."""
    code = [*Path(__file__).parent.glob("*.py"), ARCHITECTURES]
    return [*code, *(run.run.path / "summary.json" for run in runs.values())]
