"""How two layers find the digit of a letter."""

from collections.abc import Mapping
from string import ascii_lowercase
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gpt.data.lines import recall
from gpt.inspection.attention_weights import AttentionWeights
from gpt.inspection.parts import Switched
from gpt.session.trained import TrainedRun
from pictures.theme import figure, heat, label_cells, tokenizer_of

LINE, LINE_WITHOUT = "k3p0q7z1p", "k3p0q7z1x"
_LINES = 500  # of the validation split


def induction(runs: Mapping[str, TrainedRun]) -> Figure:
    """The attention of both layers' heads over a line that asks for the digit of p."""
    fig = figure(3.0)
    for axes, weights, layer in zip(fig.subplots(1, 2), runs["recall"].attention(LINE), (1, 2), strict=True):
        heat(axes, weights[0], largest=1.0)
        label_cells(axes, list(LINE), list(LINE))
        axes.set(title=f"layer {layer}", xlabel="looks at")
    return fig


class Circuit(NamedTuple):
    """Shares of lines: their digits are right; layer 1 reads the letter before each digit; layer 2 reads the answer."""

    right: float
    before: float
    answer: float


@torch.no_grad()
def circuit(run: TrainedRun, off: str | None = None) -> Circuit:
    """What the heads look at most, and how often the prediction is right, with a part turned off."""
    idx, digits, places = _asked(run)  # (N, T), (N), (N)
    logits = Switched(run.model).without([off] if off else [])(idx)[:, -1]
    first, second = (weights[:, 0].argmax(-1) for weights in _attention(run, idx))  # (N, T) each
    told = torch.arange(1, idx.shape[1] - 1, 2)  # the places of the digits
    shares = (logits.argmax(-1) == digits, (first[:, told] == told - 1).all(-1), second[:, -1] == places)
    return Circuit(*(share.float().mean().item() for share in shares))


@torch.no_grad()
def answers(run: TrainedRun) -> tuple[float, float]:
    """Shares of the lines: answered right, and with one of the digits of the line."""
    idx, digits, _ = _asked(run)
    found = run.model(idx)[:, -1].argmax(-1)  # (N)
    is_told = (idx[:, 1:-1:2] == found[:, None]).any(-1)
    return (found == digits).float().mean().item(), is_told.float().mean().item()


@torch.no_grad()
def unasked(run: TrainedRun, off: str | None = None) -> Tensor:
    """The largest probability after lines that ask for a letter that they do not have, with a part turned off: (N)."""
    idx, _, _ = _asked(run)
    letters = tokenizer_of(run).encode(ascii_lowercase)
    absent = [letters[~torch.isin(letters, line)] for line in idx]
    idx[:, -1] = torch.stack([free[n % len(free)] for n, free in enumerate(absent)])
    return Switched(run.model).without([off] if off else [])(idx)[:, -1].softmax(-1).amax(-1)


def _asked(run: TrainedRun) -> tuple[Tensor, Tensor, Tensor]:
    """Lines without their last digit, that digit, and the place where it was told."""
    lines = recall(pairs=4, distance=0, size=20_000).val.splitlines()[:_LINES]
    ids = torch.stack([tokenizer_of(run).encode(line) for line in lines])
    places = torch.tensor([line.index(line[-2]) + 1 for line in lines])
    return ids[:, :-1], ids[:, -1], places


def _attention(run: TrainedRun, idx: Tensor) -> list[Tensor]:
    with AttentionWeights() as observed:
        run.model(idx)
    return observed.weights
