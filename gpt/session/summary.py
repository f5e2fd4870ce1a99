"""The summary of a training run: its results, and the versions and settings behind them."""

import math
import platform
import subprocess
from pathlib import Path

import torch

from gpt.base.losses import Loss
from gpt.base.runtime import size_of
from gpt.runs.folder import RunFolder
from gpt.runs.records import Estimated, Summary, now
from gpt.session.job import Job
from gpt.training.operations import operations
from gpt.training.state import TrainingState


def summarise(job: Job, state: TrainingState, exact: Loss, seconds: float, run: RunFolder | None = None) -> Summary:
    """The results of a training run that took this many `seconds`; `exact` is the exact validation loss.

    `run` is its folder, if it has one.
    """
    config, progress, recipe, runtime = job.config, state.progress, job.recipe, job.recipe.runtime
    record, last = run and run.record(), progress.evaluations[-1]
    best = progress.best or min(progress.evaluations, key=lambda evaluation: evaluation.val)
    last_batch, of_batch = state.last_batch.item(), job.recipe.over["train"].model_copy(update={"drawn": None})
    gpu = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None
    return Summary(
        stage=config.stage,
        name=config.name,
        tags=config.tags,
        seed=config.seed,
        parameters=size_of(job.model),
        iterations=progress.iteration,
        documented=config.documented,
        changed=list(job.changed),
        estimated=Estimated(train=recipe.estimated("train", last), val=recipe.estimated("val", last)),
        metrics={name: means.val for name, means in last.metrics.items() if means.val is not None},
        best=recipe.estimated("val", best),
        exact=exact,
        target=config.target,
        counted_seconds=round(progress.seconds + progress.preparing_seconds, 2),
        last_batch=Loss(nats=last_batch, how="mini-batch", over=of_batch) if math.isfinite(last_batch) else None,
        flops=operations(job.model, job.recipe, progress),
        tokens_per_second=round(state.tokens_per_second),
        seconds=round(seconds, 2),
        skipped=int(state.skipped),
        device=f"cuda ({gpu})" if gpu else runtime.device.type,
        dtype="bfloat16" if runtime.dtype is torch.bfloat16 else "float32",
        versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        git_commit=_git_commit(),
        finished=now(),
        left_out=job.task.left_out(job.corpus),
        parent=record.parent if record else None,
        commands=record.commands if record else [],
    )


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
