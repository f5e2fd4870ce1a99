"""Show how the temperature affects the text of a run: entropy, loss and samples of softmax(t x), t = 1 / temperature.

python docs/temperature.py RUN_FOLDER
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import Tensor

import gpt
from gpt.base.errors import UserError
from gpt.data.text import TextData
from gpt.session.trained import TrainedRun
from gpt.tasks.continuation import Continuation
from gpt.tasks.decoding.sampling import default_prompt
from gpt.training.evaluation import tokens_per_pass

_SHOWN = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)  # t, in the table
_DRAWN = torch.logspace(-2, 3, 21, base=2.0).tolist()  # t, in the picture
_TOKENS, _CHARACTERS = 60, 15  # of a text in the table; on the axis of the picture


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run folder (default: the newest finished run in runs/)")
    parser.add_argument("--prompt", help="what the text continues (default: a newline)")
    parser.add_argument("--out", type=Path, help="the picture (default temperature.png in the run's folder)")
    given = parser.parse_args()
    try:
        trained = gpt.load(given.run)
        if not isinstance(trained.task, Continuation):
            raise UserError(f"{trained.run.path} translates, by beam search, which has no temperature")
        after = trained.next_token(given.prompt or default_prompt(trained.task.tokenizer))
        logits, targets = _validation(trained)
        rows = [[t, 1 / t, *measures(logits, targets, t), _text(trained, given.prompt, t)] for t in _SHOWN]
    except UserError as error:
        sys.exit(f"error: {error}")
    headers = ["t", "temperature", "entropy", "validation loss", "text"]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=("g", "g", ".4f", ".4f")))
    path = given.out or trained.run.path / "temperature.png"
    _draw(logits, targets, after, given.prompt).savefig(path, dpi=100)
    print(f"\nwritten: {path}")


@torch.no_grad()
def _validation(trained: TrainedRun) -> tuple[Tensor, Tensor]:
    """The logits (N, V) and the targets (N,) of every character of the validation split except the first."""
    corpus = trained.corpus()
    data = trained.task.data(corpus, trained.model, trained.device)
    assert isinstance(data, TextData)
    logits, targets = [], []
    for batch in data.every_target_once("val", tokens_per_pass(trained.runtime, trained.model)):
        logits.append(trained.model(*batch.inputs).flatten(0, 1).float())
        targets.append(batch.targets.flatten())
    return torch.cat(logits), torch.cat(targets)


def measures(logits: Tensor, targets: Tensor, t: float) -> tuple[float, float]:
    """The mean entropy of softmax(t x) and its loss on the targets, (N,), for the logits x, (N, V); both in nats."""
    log_p = (t * logits).log_softmax(dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1).mean()
    return entropy.item(), -log_p.gather(-1, targets[:, None]).mean().item()


def _text(trained: TrainedRun, prompt: str | None, t: float) -> str:
    """The prompt and a continuation, on one line that a table can hold."""
    text = (prompt or "") + trained.generate(prompt, tokens=_TOKENS, temperature=1 / t)
    return text.replace("\n", " / ").replace("|", "\\|")


def _draw(logits: Tensor, targets: Tensor, after: dict[str, float], prompt: str | None) -> Figure:
    """Entropy and loss over t; and of `after`, the probabilities after the prompt, the largest, at a few t."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    entropies, losses = zip(*(measures(logits, targets, t) for t in _DRAWN), strict=True)
    best = _DRAWN[losses.index(min(losses))]
    left.semilogx(_DRAWN, entropies, base=2, label="entropy")
    left.semilogx(_DRAWN, losses, base=2, label="validation loss")
    left.plot(best, min(losses), "o", color="C1", label=f"lowest loss, at t = {best:.2f}")
    left.axvline(1, color="grey", linewidth=0.8)
    left.set(xlabel="t = 1 / temperature", ylabel="nats per character", ylim=(0, 1.5 * entropies[0]))
    left.xaxis.set_major_formatter("{x:g}")
    p = torch.tensor(list(after.values()))  # (V,), the likeliest first
    for t in (0.5, 1.0, 2.0):
        right.plot((t * p.log()).softmax(dim=-1)[:_CHARACTERS], "o-", label=f"t = {t:g}")
    characters = [repr(character)[1:-1] for character in list(after)[:_CHARACTERS]]
    right.set_xticks(range(len(characters)), characters)
    right.set(xlabel=f"next character after {prompt or 'a newline'!r}", ylabel="probability, softmax(t x)", ylim=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


if __name__ == "__main__":
    main()
