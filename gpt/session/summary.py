"""The summary of a training run: its results, and the versions and settings behind them."""

import math
import platform
import subprocess
from pathlib import Path
from typing import Literal

import torch

from gpt.base.losses import Loss
from gpt.base.runtime import size_of
from gpt.runs.folder import RunFolder
from gpt.runs.records import Estimated, Summary, now
from gpt.training.operations import operations
from gpt.training.state import Evaluation
from gpt.training.trainer import Trainer


def summarise(
    trainer: Trainer, exact: Loss, changes: list[str], seconds: float, run: RunFolder | None = None
) -> Summary:
    """The results of a training run that took this many `seconds`; `exact` is the exact validation loss.

    `changes` are its differences from the documented run of the stage, and `run` is its folder, if it has one.
    """
    config, state, runtime = trainer.config, trainer.state, trainer.runtime
    record, last = run and run.record(), state.evaluations[-1]
    best = state.best or min(state.evaluations, key=lambda evaluation: evaluation.val)
    last_batch, over = trainer.last_batch.item(), trainer.task.over("train", trainer.corpus, trainer.model)
    gpu = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None
    return Summary(
        stage=config.stage,
        name=config.name,
        tags=config.tags,
        seed=config.seed,
        parameters=size_of(trainer.model),
        iterations=state.iteration,
        documented=config.documented,
        changed=changes,
        estimated=Estimated(train=_estimated(trainer, "train", last), val=_estimated(trainer, "val", last)),
        metrics={name: means.val for name, means in last.metrics.items() if means.val is not None},
        best=_estimated(trainer, "val", best),
        exact=exact,
        target=config.target,
        counted_seconds=round(state.seconds + state.preparing_seconds, 2),
        last_batch=Loss(nats=last_batch, how="mini-batch", over=over) if math.isfinite(last_batch) else None,
        flops=operations(trainer),
        tokens_per_second=round(trainer.tokens_per_second),
        seconds=round(seconds, 2),
        skipped=int(trainer.skipped),
        device=f"cuda ({gpu})" if gpu else runtime.device.type,
        dtype="bfloat16" if runtime.dtype is torch.bfloat16 else "float32",
        versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        git_commit=_git_commit(),
        finished=now(),
        left_out=trainer.task.left_out(trainer.corpus),
        parent=record.parent if record else None,
        commands=record.commands if record else [],
    )


def _estimated(trainer: Trainer, split: Literal["train", "val"], evaluation: Evaluation) -> Loss:
    """The estimated loss of an evaluation, with what it is over."""
    over = trainer.task.over(split, trainer.corpus, trainer.model)
    drawn = over.model_copy(update={"drawn": trainer.data.estimated_over})
    return Loss(nats=getattr(evaluation, split), how="estimated", over=drawn, weights=evaluation.iteration)


def _git_commit() -> str | None:
    """The git commit of this code, with "-dirty" if there are later changes; None outside a git checkout."""
    clone = Path(__file__).parent.parent.parent
    if not (clone / ".git").exists():  # An installed package may be inside another project's checkout.
        return None
    describe = ["git", "-C", str(clone), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
