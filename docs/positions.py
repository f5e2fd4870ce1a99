"""Draw the loss at each position of the window for the runs of a sweep: who uses the text before, and how far back.

python docs/positions.py runs/architectures/64
"""

import argparse
import itertools
import os
import sys
from collections import defaultdict
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import Tensor

import gpt
from gpt.base.errors import UserError
from gpt.base.files import write_png
from gpt.data.batch import Data
from gpt.models import block_size_of
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.session.trained import TrainedRun
from gpt.tasks import Continuation
from gpt.training.evaluation import tokens_per_pass
from gpt.training.objectives import target_losses

Losses = dict[str, list[float]]  # by stage: of each group of positions


def main() -> None:
    """Print the losses of groups of positions, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="a folder of runs that continue a text, with windows of one length")
    parser.add_argument("--out", type=Path, help="the picture (default positions.png in the sweep's folder)")
    given = parser.parse_args()
    path = given.out or given.sweep / "positions.png"
    try:
        groups, losses = losses_by_position([run for run, _ in finished_runs(given.sweep)])
        write_png(path, _drawn(groups, losses))
    except UserError as error:
        sys.exit(f"error: {error}")
    rows = [[stage, *(f"{loss:.3f}" for loss in means)] for stage, means in losses.items()]
    print(tabulate(rows, ["characters read", *map(_words, groups)], tablefmt="github", disable_numparse=True))
    print(f"\nwritten: {path}")


def losses_by_position(runs: list[RunFolder]) -> tuple[list[range], Losses]:
    """The groups of positions, 1, 2, 3 to 4, 5 to 8 and so on, and the loss of each stage in each of them.

    The loss is the mean over the adjacent windows of the validation split and over the runs of a stage. Raises
    UserError if the windows of the runs differ in length, and for a run that translates.
    """
    found: dict[str, list[Tensor]] = defaultdict(list)
    data: Data | None = None
    T = 0
    for run in runs:
        opened = gpt.load(run.path, device="cpu")
        Continuation.required(opened.task, "docs/positions.py")
        block_size = block_size_of(opened.model)
        if data is None:  # the runs of a sweep share it
            corpus = opened.corpus({"dir": os.environ.get("GPT_DATA_DIR", "data")})
            data, T = opened.task.data(corpus, opened.model, opened.device), block_size
        if block_size != T:
            raise UserError(f"these runs have windows of {T} and of {block_size} characters: give one folder for each")
        found[opened.config.stage].append(_by_position(opened, data, T))
    ends = [1 << i for i in range(T.bit_length()) if 1 << i < T] + [T]
    groups = [range(first + 1, last + 1) for first, last in itertools.pairwise([0, *ends])]
    means = {stage: torch.stack(seeds).mean(0) for stage, seeds in found.items()}
    losses = {stage: [mean[g.start - 1 : g.stop - 1].mean().item() for g in groups] for stage, mean in means.items()}
    return groups, dict(sorted(losses.items(), key=lambda row: row[1][-1]))


@torch.no_grad()
def _by_position(opened: TrainedRun, data: Data, T: int) -> Tensor:
    """The mean loss after 1, 2, ... T characters of a window, over all complete windows: (T,)."""
    sums, windows = torch.zeros(T, dtype=torch.float64), 0
    for batch in data.every_target_once("val", tokens_per_pass(opened.runtime, opened.model)):
        if batch.targets.shape[1] == T:  # the last window may be shorter
            with opened.runtime.autocast():
                sums += target_losses(opened.model, batch).view(-1, T).sum(0)
            windows += len(batch.targets)
    return sums / windows


def _words(group: range) -> str:
    return str(group[0]) if len(group) == 1 else f"{group[0]} to {group[-1]}"


def _drawn(groups: list[range], losses: Losses) -> Figure:
    """A line for each stage, on a logarithmic axis."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for stage, means in losses.items():
        axes.plot(range(len(groups)), means, ".-", label=stage)
    axes.set_xticks(range(len(groups)), [_words(group) for group in groups])
    axes.set(xlabel="characters of the window that were read", ylabel="validation loss (nats per character)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main()
