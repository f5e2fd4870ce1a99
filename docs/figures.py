"""Draw the figures of docs/translation.md from the code that trains and from a trained run.

python docs/figures.py RUN_FOLDER
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from gpt.base.errors import UserError
from gpt.data.pairs import BEGIN, END, Subwords
from gpt.models.transformer import Attention, Transformer
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from gpt.tasks.decoding.beam_search import beam_search
from gpt.training import schedules

_IMAGES = Path(__file__).parent / "images"
_REFERENCE = [4.60, 3.64, 3.18, 2.93, 2.90, 2.53, 2.52, 2.35, 2.3151]  # after each of its epochs
_SENTENCE = "Ein Mann mit einem Hut spielt Gitarre."


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run of model=transformer")
    parser.add_argument("--out", type=Path, default=_IMAGES, help="where to write the figures (default docs/images)")
    given = parser.parse_args()
    run = RunFolder(given.run)
    try:
        figures = {"schedule": _schedule(run), "attention": _attention(run), "translation": _curve(run)}
    except UserError as error:
        sys.exit(f"error: {error}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(given.out / f"{name}.png", dpi=120)


def _schedule(run: RunFolder) -> Figure:
    """The learning rate of the run, and of the other schedules with its peak and warm-up."""
    config = run.config()
    max_iters, peak = config.training.max_iters, config.training.learning_rate
    warmup_iters = config.schedule.hyperparameters["warmup_iters"]
    own = schedules.SCHEDULE.find(config.schedule).__name__
    curves: dict[str, schedules.Schedule] = {
        "inverse_sqrt": partial(schedules.inverse_sqrt, warmup_iters=warmup_iters),
        "cosine": partial(schedules.cosine, warmup_iters=warmup_iters, final=0.0),
        "linear": partial(schedules.linear, warmup_iters=warmup_iters, final=0.0),
        own: schedules.SCHEDULE.partial(config.schedule),
    }
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, schedule in curves.items():
        rates = [schedule(i, max_iters, peak) for i in range(max_iters)]
        axes.plot(rates, "-" if name == own else ":", label=name)
    axes.set(title="learning rate", xlabel="iteration", ylabel="learning rate")
    axes.legend()
    return figure


@torch.no_grad()
def _attention(run: RunFolder) -> Figure:
    """What the last decoder block attends to while it writes a translation: the mean over its heads."""
    model, vocabulary = load_model(run, "averaged").eval(), run.vocabulary()
    assert isinstance(model, Transformer)
    tokenizer = Subwords(list(vocabulary.vocabulary), [(a, b) for a, b in vocabulary.merges or []])
    source = [*tokenizer.encode_all([_SENTENCE])[0], END]
    target = beam_search(model, torch.tensor([source]), beam=1, length_penalty=0.0)[0]
    seen: list[Tensor] = []

    def look(module: nn.Module, arguments: tuple) -> None:
        assert isinstance(module, Attention)
        x, k = arguments[0], arguments[1]
        B, T, C = x.shape
        q = module.query(x).view(B, T, module.n_head, C // module.n_head).transpose(1, 2)
        seen.append((q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1).mean(1)[0])

    last = list(model.decoder)[-1]
    handle = last.cross_attention.register_forward_pre_hook(look)  # type: ignore[union-attr]
    model(torch.tensor([source]), torch.tensor([[BEGIN, *target]]))
    handle.remove()
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(seen[0], cmap="Blues")
    axes.set_xticks(range(len(source)), [tokenizer.vocabulary[i] for i in source], rotation=60)
    axes.set_yticks(range(len(target) + 1), [tokenizer.vocabulary[i] for i in [*target, END]])
    axes.set(title="the last block's attention to the source", xlabel="source", ylabel="written")
    return figure


def _curve(run: RunFolder) -> Figure:
    """The run's losses after each epoch, beside those of the reference, which has other data and another vocabulary."""
    metrics = run.evaluations()
    epochs = [m.iteration / metrics[1].iteration for m in metrics]  # it was evaluated after each
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs[1:], [m.val.nats for m in metrics[1:]], ".-", label="validation")
    axes.plot(epochs[1:], [m.train.nats for m in metrics[1:]], ".-", label="train")
    axes.plot(range(1, len(_REFERENCE) + 1), _REFERENCE, ":", color="grey", label="the reference, other data")
    axes.set(title="loss", xlabel="epoch", ylabel="nats per subword")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
