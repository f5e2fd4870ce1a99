"""The encoder-decoder: its masks, its positions, and what it looks at while it translates."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure

from gpt.data.pairs import BEGIN, END
from gpt.inspection.attention_weights import AttentionWeights
from gpt.models.transformer import Transformer, sinusoidal_positions
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.beam_search import beam_search
from gpt.tasks.translation import Translation
from pictures.theme import figure, heat, label_cells


def masks() -> Figure:
    """What a target of eight tokens may see of itself, and of a source of six that is padded to eight."""
    causal = torch.ones(8, 8).tril()
    source = (torch.arange(8) < 6).float().expand(8, 8)
    fig = figure(2.9)
    for axes, mask, title, what in zip(
        fig.subplots(1, 2),
        (causal, source),
        ("self-attention:\nnothing later", "cross-attention:\nno padding"),
        ("target position", "source position"),
        strict=True,
    ):
        heat(axes, mask, largest=1.6)
        axes.set(title=title, xlabel=what, ylabel="target position", xticks=[], yticks=[])
    return fig


def positions() -> Figure:
    """The vector of each position, and some of its channels over the positions."""
    vectors = sinusoidal_positions(60, 64)
    fig = figure(5.4)
    upper, lower = fig.subplots(2, 1, sharex=True)
    mesh = heat(upper, vectors.T, largest=1.0, smallest=-1.0)
    upper.set(ylabel="channel", aspect="auto")
    fig.colorbar(mesh, ax=[upper, lower], shrink=0.4, anchor=(0, 1), label="value")
    for channel in (4, 16, 28, 40):
        lower.plot(vectors[:, channel], label=f"channel {channel}")
    lower.set(xlabel="position", ylim=(-1.1, 1.9))
    lower.legend(loc="upper center", ncols=2)
    lower.grid()
    return fig


def cross_attention(runs: Mapping[str, TrainedRun]) -> Figure:
    """What the decoder looks at in the source while it writes it in reverse: the last block, mean of its heads."""
    weights, source, written = reversing(runs["reverse"])
    fig = figure(4.2)
    axes = fig.subplots()
    mesh = heat(axes, weights, largest=1.0)
    label_cells(axes, source, written)
    axes.set(xlabel="source", ylabel="written")
    fig.colorbar(mesh, ax=axes, shrink=0.8, label="weight")
    return fig


def reversing(run: TrainedRun) -> tuple[torch.Tensor, list[str], list[str]]:
    """`attention_to_source` while the letters a to h are reversed."""
    return attention_to_source(run, "a b c d e f g h")


@torch.no_grad()
def attention_to_source(run: TrainedRun, text: str) -> tuple[torch.Tensor, list[str], list[str]]:
    """The weights of each written token on the source, (written, source), and the tokens of both.

    Of the last block, the mean of its heads.
    """
    assert isinstance(run.task, Translation)
    assert isinstance(run.model, Transformer)
    tokenizer = run.task.tokenizer
    source = [*tokenizer.encode_all([text])[0], END]
    target = beam_search(run.model, torch.tensor([source]), beam=1, length_penalty=0.0)[0]
    with AttentionWeights() as observed:
        run.model(torch.tensor([source]), torch.tensor([[BEGIN, *target]]))
    read, written = ([tokenizer.vocabulary[i].strip("▁Ġ ") for i in ids] for ids in (source, [*target, END]))
    return observed.weights[-1][0].mean(0), read, written
