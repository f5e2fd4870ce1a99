"""Distributions over the next character."""

import string
from collections.abc import Mapping

import torch
from matplotlib.figure import Figure

from gpt.models.v9_counts import Trust
from gpt.session.trained import TrainedRun
from pictures.theme import figure, heat, label_cells, tokenizer_of, visible

_SHOWN = "\n " + string.ascii_lowercase
PROMPT = "\nROMEO:\nTh"
LINE = "PETRUCHIO:\nCome, Kate, come"  # of the validation split


def bigram_table(runs: Mapping[str, TrainedRun]) -> Figure:
    """The probabilities that v1's table gives, of the small letters, the space and the newline."""
    run = runs["v1"]
    ids = tokenizer_of(run).encode(_SHOWN)
    p = run.model(torch.arange(run.task.vocab_size)[None])[0].softmax(-1)[ids][:, ids]
    fig = figure(4.3)
    axes = fig.subplots()
    mesh = heat(axes, p, largest=0.6)
    label_cells(axes, visible(_SHOWN), visible(_SHOWN), fontsize=8)
    axes.set(xlabel="next character", ylabel="current character")
    fig.colorbar(mesh, ax=axes, shrink=0.5, label="probability", extend="max")
    return fig


def temperature(runs: Mapping[str, TrainedRun]) -> Figure:
    """softmax(t x) for four values of t, where x are v6's logits."""
    prompt, shown = PROMPT, 8
    x = logits(runs["v6"], prompt)
    ids = x.argsort(descending=True)[:shown]
    names = visible(tokenizer_of(runs["v6"]).decode(ids))
    fig = figure(4.2)
    panels = fig.subplots(2, 2, sharex=True, sharey=True)
    for axes, t in zip(panels.flat, (0.5, 1.0, 2.0, 5.0), strict=True):
        axes.bar(range(shown), (t * x).softmax(-1)[ids])
        axes.set_title(f"t = {t:g}, temperature {1 / t:g}")
        axes.set_xticks(range(shown), names)
        axes.grid(axis="y")
    fig.supylabel("probability", fontsize="medium")
    return fig


def truncation(runs: Mapping[str, TrainedRun]) -> Figure:
    """The likeliest next characters, and where top-k and top-p cut them off."""
    p, order = logits(runs["v6"], PROMPT).softmax(-1).sort(descending=True)
    shown, k, share = 16, 5, 0.9
    kept = int((p.cumsum(0) - p < share).sum())
    fig = figure(3.2)
    axes = fig.subplots()
    axes.bar(range(shown), p[:shown])
    names = visible(tokenizer_of(runs["v6"]).decode(order[:shown]))
    axes.set_xticks(range(shown), names)
    axes.set(ylabel="probability", xlabel="next character, the likeliest first")
    for x, y, style, name in ((k, 0.9, "--", f"top_k={k}"), (kept, 0.75, ":", f"top_p={share:g}")):
        axes.axvline(x - 0.5, linestyle=style, color="C1")
        axes.annotate(
            name,
            (x - 0.5, y),
            (max(k, kept) + 1, y),
            color="C1",
            va="center",
            xycoords=axes.get_xaxis_transform(),
            arrowprops={"arrowstyle": "->", "color": "C1"},
        )
    axes.grid(axis="y")
    return fig


def trust(runs: Mapping[str, TrainedRun]) -> Figure:
    """The weight that v9 gives the counts of each order, over a line of the validation split."""
    weights = trusted(runs["v9"])
    fig = figure(2.3)
    axes = fig.subplots()
    mesh = heat(axes, weights.clamp(min=0))
    label_cells(axes, visible(LINE), [str(n) for n in range(1, len(weights) + 1)], fontsize=8)
    axes.set(xlabel="the text so far", ylabel="characters counted", aspect="auto")
    fig.colorbar(mesh, ax=axes, label="weight")
    return fig


@torch.no_grad()
def trusted(run: TrainedRun) -> torch.Tensor:
    """The weight of the counts of each order at each character of LINE: (orders, T)."""
    seen: list[torch.Tensor] = []
    (module,) = (module for module in run.model.modules() if isinstance(module, Trust))
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    run.next_token(LINE)
    handle.remove()
    return seen[0].T


@torch.no_grad()
def logits(run: TrainedRun, prompt: str) -> torch.Tensor:
    """The logits of the next character: (V,)."""
    ids = tokenizer_of(run).encode(prompt)[-run.config.model.hyperparameters["block_size"] :]
    return run.model(ids[None])[0, -1]
