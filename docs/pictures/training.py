"""Batches, and how the losses fall."""

from collections.abc import Mapping

import torch
from course_runs import corpus
from matplotlib.figure import Figure

from gpt.base.ladder import SMALL
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.session.trained import TrainedRun
from gpt.training.schedules import SCHEDULE
from pictures.theme import figure, heat, label_cells, stage_colour, visible


def windows() -> Figure:
    """Three rows of a batch of tiny Shakespeare: inputs and targets."""
    text = corpus()
    tokenizer = CharTokenizer(text.train)
    batch = TextData(text, tokenizer, block_size=8).training_batch(seed=1337, iteration=0, batch_size=3)
    fig = figure(2.9)
    for row, axes in enumerate(fig.subplots(3, 1)):
        ids = torch.stack([batch.inputs[0][row], batch.targets[row]])
        heat(axes, torch.tensor([[0.0], [0.25]]).expand(2, 8), largest=1.0)
        for y in range(2):
            for x, sign in enumerate(visible(tokenizer.decode(ids[y]))):
                axes.text(x + 0.5, y + 0.5, sign, ha="center", va="center", family="monospace")
        label_cells(axes, [str(t) for t in range(8)] if row == 2 else [], ["input", "target"])
        axes.set(aspect="auto")
        axes.set_title(f"window {row + 1}", loc="left")
    axes.set_xlabel("position t")
    return fig


def losses(runs: Mapping[str, TrainedRun]) -> Figure:
    """The estimated validation loss of v1 to v6 over the iterations."""
    fig = figure(4.2)
    axes = fig.subplots()
    for stage in SMALL:
        metrics = [m for m in runs[stage].run.evaluations() if 0 < m.iteration <= 2000]
        axes.plot([m.iteration for m in metrics], [m.val for m in metrics], label=stage, color=stage_colour(stage))
    axes.set(xlabel="iteration", ylabel="validation loss (nats per character)")
    axes.legend(ncols=2)
    axes.grid()
    return fig


def schedules(runs: Mapping[str, TrainedRun]) -> Figure:
    """v6 with a constant learning rate and with two that fall: the rates, and the validation losses."""
    fig = figure(5.0)
    upper, lower = fig.subplots(2, 1, sharex=True)
    for name, label in (
        ("v6", "0.001, constant"),
        ("v6_high", "0.01, constant"),
        ("v6_decay", "0.01, cosine"),
        ("v6_warmup", "0.01, warm-up and cosine"),
    ):
        config = runs[name].config
        schedule, max_iters = SCHEDULE.partial(config.schedule), config.training.max_iters
        rates = [schedule(i, max_iters, config.training.learning_rate) for i in range(max_iters)]
        upper.plot(rates, label=label)
        metrics = [m for m in runs[name].run.evaluations() if m.iteration > 0]
        lower.plot([m.iteration for m in metrics], [m.val for m in metrics], label=label)
    upper.set_ylabel("learning rate")
    lower.set(xlabel="iteration", ylabel="validation loss")
    lower.legend()
    for axes in (upper, lower):
        axes.grid()
    return fig


def dropout(runs: Mapping[str, TrainedRun]) -> Figure:
    """Training and validation loss of a small v7 on 9,000 characters, with and without dropout."""
    fig = figure(4.2)
    axes = fig.subplots()
    for colour, name in (("C0", "without_dropout"), ("C1", "with_dropout")):
        metrics = [m for m in runs[name].run.evaluations() if m.iteration > 0]
        iterations = [m.iteration for m in metrics]
        label = name.replace("_", " ")
        axes.plot(iterations, [m.val for m in metrics], color=colour, label=f"validation, {label}")
        axes.plot(iterations, [m.train for m in metrics], color=colour, linestyle="--", label=f"training, {label}")
    axes.set(xlabel="iteration", ylabel="loss (nats per character)")
    axes.legend()
    axes.grid()
    return fig
