"""Draw the gradient norm of each block of the runs of a sweep over the depth, before and after training.

python docs/gradients.py runs/depth_without_residuals
"""

import argparse
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import nn

import gpt
from gpt import models
from gpt.base.errors import UserError
from gpt.data.batch import Data
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.training.objectives import batch_loss

_BATCHES = 20  # of training, over whose gradient norms the mean is taken
_WHEN = ("before training", "after training")

_Found = dict[tuple[str, int], list[list[float]]]  # by stage and number of blocks: those of each seed
Norms = dict[str, dict[int, list[float]]]  # by stage and number of blocks: of each block, the first one first


def main() -> None:
    """Print the norms of the first and the last block, and draw those of all blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="a folder of runs of stages that have blocks: v4 and later")
    parser.add_argument("--out", type=Path, help="the picture (default gradients.png in the sweep's folder)")
    given = parser.parse_args()
    torch.set_num_threads(1)  # for models as small as these, a second one only waits
    try:
        before, after = gradient_norms([run for run, _ in finished_runs(given.sweep)])
    except UserError as error:
        sys.exit(f"error: {error}")
    rows = [
        [stage, depth, *(f"{norms[stage][depth][end]:.1e}" for norms in (before, after) for end in (0, -1))]
        for stage in before
        for depth in sorted(before[stage])
    ]
    headers = ["stage", "blocks", *(f"{end} block, {when}" for when in _WHEN for end in ("first", "last"))]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    path = given.out or given.sweep / "gradients.png"
    _draw(before, after).savefig(path, dpi=100)
    print(f"\nwritten: {path}")


def gradient_norms(runs: list[RunFolder]) -> tuple[Norms, Norms]:
    """The norms before and after training, each the mean over seeds and over some batches of training.

    Before training, a run has the weights that its seed gives. Raises UserError for a stage without blocks.
    """
    before: _Found = defaultdict(list)
    after: _Found = defaultdict(list)
    loaded: dict[str, Data] = {}  # the runs of a sweep over the depth share it
    for run in runs:
        opened = gpt.load(run.path, weights="last", device="cpu")
        config, trained = opened.config, opened.model.train()
        torch.manual_seed(config.seed)
        untrained = models.build(config.model, opened.task.vocab_size)
        if not hasattr(trained, "blocks"):
            raise UserError(f"{run.path} is a run of {config.stage}, which has no blocks: use v4 and later")
        key = f"{config.data} {trained.block_size}"
        if key not in loaded:
            corpus = opened.corpus({"dir": os.environ.get("GPT_DATA_DIR", "data")})
            loaded[key] = opened.task.data(corpus, trained, opened.device)
        data = loaded[key]
        for norms, model, iteration in ((before, untrained, 0), (after, trained, config.training.max_iters)):
            batches = range(iteration, iteration + _BATCHES)
            each = [_norms(model, data, config.seed, i, config.training.batch_size) for i in batches]
            norms[config.stage, len(each[0])].append(_mean(each))
    return _by_stage(before), _by_stage(after)


def _norms(model: nn.Module, data: Data, seed: int, iteration: int, batch_size: int) -> list[float]:
    """The norm of the gradient of a batch's loss with respect to the parameters of each block."""
    model.zero_grad()
    batch_loss(model, data.training_batch(seed, iteration, batch_size)).backward()
    blocks = ([p.grad for p in block.parameters() if p.grad is not None] for block in model.blocks)  # type: ignore
    return [nn.utils.get_total_norm(gradients).item() for gradients in blocks]


def _mean(rows: Iterable[list[float]]) -> list[float]:
    return [statistics.mean(column) for column in zip(*rows, strict=True)]


def _by_stage(found: _Found) -> Norms:
    return {stage: {d: _mean(seeds) for (s, d), seeds in found.items() if s == stage} for stage, _ in found}


def _draw(before: Norms, after: Norms) -> Figure:
    """A column for each stage and a line for each depth: before training above, after training below."""
    figure = Figure(figsize=(2 + 2 * len(before), 5), layout="constrained")
    rows = figure.subplots(2, len(before), sharex=True, sharey=True, squeeze=False)
    for row, norms, when in zip(rows, (before, after), _WHEN, strict=True):
        row[0].set_ylabel(f"gradient norm\n{when}")
        for axes, stage in zip(row, norms, strict=True):
            for depth, blocks in sorted(norms[stage].items()):
                axes.semilogy(range(1, depth + 1), blocks, ".-", label=str(depth))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.grid(alpha=0.3)
    for above, below, stage in zip(*rows, before, strict=True):
        above.set_title(stage.replace("_without_", "\nwithout "), fontsize="medium")
        below.set_xlabel("block")
    rows[0][-1].legend(title="blocks", fontsize="small")
    return figure


if __name__ == "__main__":
    main()
