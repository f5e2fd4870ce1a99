"""What happens to activations and gradients from layer to layer."""

from collections.abc import Mapping
from typing import Any

import torch
from course_runs import corpus
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.models import v4_blocks, v5_residual
from gpt.models.variants import v4
from gpt.session.trained import TrainedRun
from pictures.theme import figure, tokenizer_of

_SIZE = {"vocab_size": 65, "block_size": 8, "n_embd": 32, "n_head": 4}
_SEEDS = 5


def gradient_over_depth() -> Figure:
    """The gradient that reaches the embedding before training, over the number of blocks, without residuals."""
    fig = figure(3.2)
    axes = fig.subplots()
    depths = (1, 2, 3, 4, 6, 8, 12, 16)
    for name, stage in (
        ("v4, without residuals", v4_blocks.GPT),
        ("v5, with residuals", v5_residual.GPT),
        ("v4, other first weights", v4.WithScaledInit),
    ):
        axes.plot(depths, [mean_stream_gradients(stage, n)[1][0] for n in depths], ".-", label=name)
    axes.set(yscale="log", xlabel="blocks", ylabel="norm of the gradient at the embedding", xticks=depths)
    axes.minorticks_off()
    axes.legend()
    axes.grid()
    return fig


def with_and_without_residuals() -> Figure:
    """Activations and gradients along the 12 blocks of a new v4 and a new v5."""
    n, stages = 12, (("v4, without", v4_blocks.GPT), ("v5, with residuals", v5_residual.GPT))
    fig = figure(5.0)
    upper, lower = fig.subplots(2, 1, sharex=True)
    for name, stage in stages:
        for axes, values in zip((upper, lower), mean_stream_gradients(stage, n), strict=True):
            axes.plot(range(n + 1), values, ".-", label=name)
    upper.set(yscale="log", ylabel="activations (deviation)")
    lower.set(yscale="log", ylabel="norm of the gradient", xlabel="blocks passed (0: the embedding)")
    upper.legend()
    for axes in (upper, lower):
        axes.grid()
        axes.minorticks_off()
    return fig


def mean_stream_gradients(stage: Any, n_layer: int) -> list[list[float]]:
    """The two lists of `_stream_gradients`, each the mean over some seeds."""
    return torch.tensor([_stream_gradients(stage, n_layer, seed) for seed in range(_SEEDS)]).mean(dim=0).tolist()


def _stream_gradients(stage: Any, n_layer: int, seed: int) -> tuple[list[float], list[float]]:
    """The standard deviation of the activations, and the norm of the loss's gradient, at the embedding and each block.

    Of a freshly initialised model, over a batch of 32 random windows.
    """
    torch.manual_seed(seed)
    model = stage(**_SIZE, n_layer=n_layer)
    idx = torch.randint(65, (32, 9))
    streams = [model.embedding(idx[:, :-1])]  # n_layer + 1 of (B, T, C)
    for block in model.blocks:
        streams.append(block(streams[-1]))
    loss = cross_entropy(model.lm_head(streams[-1]).flatten(0, 1), idx[:, 1:].flatten())
    gradients = torch.autograd.grad(loss, streams)
    return [x.std().item() for x in streams], [g.norm().item() for g in gradients]


@torch.no_grad()
def deviations(run: TrainedRun) -> tuple[list[Tensor], list[Tensor]]:
    """The standard deviation over the channels at each position, before and after each LayerNorm: (N,) each."""
    ids = tokenizer_of(run).encode(corpus().val[:8_000]).view(-1, 8)
    before: list[Tensor] = []
    after: list[Tensor] = []

    def look(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before.append(inputs[0])
        after.append(output)

    norms = [module for module in run.model.modules() if isinstance(module, nn.LayerNorm)]
    handles = [norm.register_forward_hook(look) for norm in norms]
    run.model(ids)
    for handle in handles:
        handle.remove()
    return [x.std(dim=-1).flatten() for x in before], [x.std(dim=-1).flatten() for x in after]


def layer_norm(runs: Mapping[str, TrainedRun]) -> Figure:
    """v6's residual stream before each branch, as it is and as the branch's LayerNorm passes it on."""
    before, after = deviations(runs["v6"])
    names = [f"{branch}\n{block}" for block in (1, 2, 3) for branch in ("att.", "ff.")] + ["head"]
    fig = figure(4.6)
    upper, lower = fig.subplots(2, 1, sharex=True, sharey=True)
    for axes, seen, title in ((upper, before, "the stream"), (lower, after, "after LayerNorm, what the branch reads")):
        axes.boxplot(
            [x.numpy() for x in seen],
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": "C0", "edgecolor": "C0", "alpha": 0.6},
            medianprops={"color": "C1", "linewidth": 2},
            **{part: {"color": "C0"} for part in ("whiskerprops", "capprops")},
        )
        axes.set(title=title, ylabel="deviation")
        axes.grid(axis="y")
    lower.set_xticks(range(1, len(names) + 1), names)
    lower.set_ylim(bottom=0)
    return fig
