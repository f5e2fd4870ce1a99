"""Characters as points in a plane."""

import torch
from course.answers import embeddings
from course_runs import corpus
from matplotlib.figure import Figure
from torch import Tensor

from gpt.data.tokenizers.characters import CharTokenizer
from pictures.theme import WIDTH, figure, visible

_HEIGHT = 6.0  # inches
_LABEL = 0.14  # inches between two labels
_KINDS = {"vowels": "aeiouAEIOU", "consonants": "bcdfghjklmnpqrstvwxyzBCDFGHJKLMNPQRSTVWXYZ"}


def embedding_map() -> Figure:
    """The vectors of a bigram model with two channels."""
    vocabulary, points = characters()
    fig = figure(_HEIGHT)
    axes = fig.subplots()
    low, high = points.amin(dim=0), points.amax(dim=0)
    size = torch.tensor([WIDTH, _HEIGHT]) / (high - low + 1)  # inches per unit
    places = _apart(points * size) / size
    for kind, colour in (("vowels", "C1"), ("consonants", "C0"), ("other", "C2")):
        chosen = [i for i, c in enumerate(vocabulary) if _kind(c) == kind]
        axes.plot([], [], "o", color=colour, markersize=5, label=kind)
        axes.plot(*points[chosen].T, ".", color=colour, markersize=2)
        for sign, (x, y) in zip(visible("".join(vocabulary[i] for i in chosen)), places[chosen].tolist(), strict=True):
            axes.text(x, y, sign, color=colour, ha="center", va="center", fontsize=9)
    axes.set(xlim=(low[0] - 0.5, high[0] + 0.5), ylim=(low[1] - 0.5, high[1] + 0.5))
    axes.set(xlabel="channel 1", ylabel="channel 2")
    axes.legend(loc="lower center")
    axes.grid()
    return fig


def characters() -> tuple[str, Tensor]:
    """The characters of tiny Shakespeare, and the points of the trained map, (V, 2)."""
    train = corpus().train
    table = embeddings.trained(embeddings.pairs(train), C=2)[0]
    assert isinstance(table, torch.nn.Embedding)
    return CharTokenizer(train).vocabulary, table.weight.detach()


def _apart(places: Tensor) -> Tensor:
    """Places, (V, 2) in inches, moved as little as it takes for labels there to be readable."""
    for _ in range(200):
        between = places[:, None] - places  # (V, V, 2)
        distance = between.norm(dim=-1).fill_diagonal_(torch.inf)[..., None]
        places = places + (between / distance * (_LABEL - distance).clamp(min=0) / 4).sum(dim=1)
    return places


def _kind(character: str) -> str:
    return next((kind for kind, members in _KINDS.items() if character in members), "other")
