"""What a token looks at."""

from collections.abc import Mapping

import torch
from course_runs import corpus
from matplotlib.figure import Figure

from gpt.models.rotary import Rotation
from gpt.session.trained import TrainedRun
from pictures.theme import figure, heat, label_cells, tokenizer_of, visible

WINDOW = "the king"  # eight characters: a window of v2 to v6
LETTERS = "\n abcdefghijklmnopqrstuvwxyz"
_NUMBERED = (1, 5, 10, 15, 20, 25, 30)  # columns of the picture


def causal_mask() -> Figure:
    """The mask, and the weights it leads to if all scores are equal."""
    T = len(WINDOW)
    visible_to = torch.ones(T, T).tril()
    weights = torch.zeros(T, T).masked_fill(visible_to == 0, float("-inf")).softmax(-1)
    fig = figure(2.9)
    left, right = fig.subplots(1, 2)
    heat(left, visible_to, largest=1.6)
    heat(right, weights, largest=1.0)
    for axes, title in ((left, "what may be seen"), (right, "weights of equal scores")):
        label_cells(axes, visible(WINDOW), visible(WINDOW))
        axes.set(title=title, xlabel="key")
    left.set_ylabel("query")
    return fig


def units(runs: Mapping[str, TrainedRun]) -> Figure:
    """How often each unit of v3_ffn's feed-forward layer is above zero, by the current character."""
    fig = figure(3.8)
    axes = fig.subplots()
    mesh = heat(axes, active_shares(runs["v3_ffn"]), largest=1.0)
    label_cells(axes, None, visible(LETTERS), fontsize=8)
    axes.set_xticks([number - 0.5 for number in _NUMBERED], map(str, _NUMBERED))
    axes.set(xlabel="column", ylabel="current character")
    fig.colorbar(mesh, ax=axes, shrink=0.6, label="share of positions where it is active")
    return fig


@torch.no_grad()
def active_shares(run: TrainedRun) -> torch.Tensor:
    """How often each unit is above zero, by the current character: (len(LETTERS), units).

    The units are in the order of the character after which they are active most often.
    """
    ids = tokenizer_of(run).encode(corpus().val[:40_000]).view(-1, 8)
    active: list[torch.Tensor] = []
    handle = run.model.get_submodule("feed_forward").register_forward_hook(
        lambda _module, _inputs, output: active.append((output > 0).float().flatten(0, 1))
    )
    run.model(ids)
    handle.remove()
    shares = torch.stack([active[0][ids.flatten() == i].mean(0) for i in tokenizer_of(run).encode(LETTERS)])
    return shares[:, shares.argmax(dim=0).argsort(stable=True)]


def rotation() -> Figure:
    """The score of a query and an equal key at each distance, for rotary positions."""
    T, D = 128, 32
    ones = torch.ones(1, 1, T, D)
    rotated = Rotation(T, D, torch.device("cpu"))(ones)[0, 0]  # (T, D)
    scores = rotated @ rotated.T / D
    fig = figure(3.0)
    axes = fig.subplots()
    for query in (40, 80, 120):
        axes.plot(
            range(query + 1),
            scores[query, : query + 1].flip(0),
            label=f"query at position {query}",
            linewidth={40: 6.0, 80: 3.5, 120: 1.2}[query],
        )
    axes.set(xlabel="distance to the key (characters)", ylabel="score")
    axes.legend()
    axes.grid()
    return fig
