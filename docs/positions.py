"""Draw the loss at each position of the window for the runs of a sweep: who uses the text before, and how far back.

python docs/positions.py runs/architectures/64
"""

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import Tensor

import gpt
from gpt.base.errors import UserError
from gpt.base.pictures import picture
from gpt.data.batch import IGNORED, Data
from gpt.reports.ranking import label, rankings
from gpt.runs.finding import FinishedRun, finished_runs
from gpt.session.trained import TrainedRun
from gpt.tasks.continuation import Continuation
from gpt.training.evaluation import tokens_per_pass
from gpt.training.objectives import target_losses


@dataclass(frozen=True)
class ByPosition:
    """The losses of a sweep's stages in groups of positions of the window: 1, 2, 3 to 4, 5 to 8 and so on."""

    token: str  # what one is, in a word
    groups: list[range]
    losses: dict[str, list[float]]  # by stage, the lowest in the last group first; means over seeds, nats per token


def main() -> None:
    """Print the losses of groups of positions, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="a folder of runs that continue a text, with windows of one length")
    parser.add_argument("--out", type=Path, help="the picture (default positions.png in the sweep's folder)")
    given = parser.parse_args()
    path = given.out or given.sweep / "positions.png"
    try:
        found = losses_by_position(finished_runs(given.sweep))
        path.write_bytes(picture(_drawn(found), path.suffix[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
    rows = [[stage, *(f"{loss:.3f}" for loss in means)] for stage, means in found.losses.items()]
    headers = [f"{found.token}s read", *map(_words, found.groups)]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print(f"\nwritten: {path}")


def losses_by_position(runs: list[FinishedRun]) -> ByPosition:
    """The mean loss over the adjacent windows of the validation split, and over the seeds of each stage.

    Runs of a stage that differ in more than their seed have lines of their own. Raises UserError if runs differ in
    their text or in the length of their windows, and for a run whose loss does not count every token.
    """
    alike = [group for ranking in rankings(runs, "exact") for group in ranking.groups]
    stages = [group.runs[0].summary.stage for group in alike]
    names = stages if len(set(stages)) == len(stages) else [label(group.values) for group in alike]
    seeds = [[gpt.load(run.folder.path, device="cpu") for run in group.runs] for group in alike]
    first, *others = itertools.chain.from_iterable(seeds)
    Continuation.required(first.task, "docs/positions.py")
    text, T = first.config.data, first.model.block_size
    for other in others:
        if (other.config.data, other.model.block_size) != (text, T):
            raise UserError(f"{other.folder} has another text or another length of windows than {first.folder}")
    data = first.task.data(first.corpus(), first.model, first.device)
    each = [torch.stack([_by_position(run, data, T) for run in some]).mean(0) for some in seeds]
    means = dict(zip(names, each, strict=True))
    ends = [1 << i for i in range(T.bit_length()) if 1 << i < T] + [T]
    groups = [range(before + 1, last + 1) for before, last in itertools.pairwise([0, *ends])]
    losses = {name: [mean[g.start - 1 : g.stop - 1].mean().item() for g in groups] for name, mean in means.items()}
    return ByPosition(first.task.token, groups, dict(sorted(losses.items(), key=lambda row: row[1][-1])))


@torch.no_grad()
def _by_position(opened: TrainedRun, data: Data, T: int) -> Tensor:
    """The mean loss after 1, 2, ... T tokens of a window, over all complete windows: (T,)."""
    sums, windows = torch.zeros(T, dtype=torch.float64), 0
    for batch in data.every_target_once("val", tokens_per_pass(opened.runtime, opened.model)):
        if (batch.targets == IGNORED).any():
            raise UserError(f"{opened.folder}: its loss counts only some of its {opened.task.token}s")
        if batch.targets.shape[1] == T:  # the last window may be shorter
            with opened.runtime.autocast():
                sums += target_losses(opened.model, batch).view(-1, T).sum(0)
            windows += len(batch.targets)
    if not windows:
        raise UserError(f"{opened.folder}: its validation split is shorter than a window")
    return sums / windows


def _words(group: range) -> str:
    return str(group[0]) if len(group) == 1 else f"{group[0]} to {group[-1]}"


def _drawn(found: ByPosition) -> Figure:
    """A line for each stage, on a logarithmic axis."""
    figure = Figure(figsize=(1.5 + 0.9 * max(6, len(found.groups)), 4.5), layout="constrained")  # room for each label
    axes = figure.subplots()
    for stage, means in found.losses.items():
        axes.plot(range(len(found.groups)), means, ".-", label=stage)
    axes.set_xticks(range(len(found.groups)), [_words(group) for group in found.groups])
    axes.set(xlabel=f"{found.token}s of the window that were read")
    axes.set(ylabel=f"validation loss (nats per {found.token})")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main()
