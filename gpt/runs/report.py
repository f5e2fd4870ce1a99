"""The report of a run: its summary, the lines that end it, and its loss curve."""

import math
import platform
import shlex
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from gpt.config import Documented
from gpt.console import command
from gpt.errors import printable
from gpt.files import write_png
from gpt.runs.folder import RunFolder
from gpt.runs.formats import FORMAT
from gpt.runs.records import Best, Command, Estimated, Exact, Parent, Progress, Summary
from gpt.runtime import Runtime


def summarise(
    progress: Progress,
    runtime: Runtime,
    *,
    stage: str,
    seed: int,
    name: str | None,
    tags: list[str],
    parent: Parent | None,
    commands: list[Command],
    documented: Documented,
    changed: list[str],
    parameters: int,
    estimated_over: str,
    exact_val: float,
    target: float | None,
    last_batch: float,
    tokens_per_second: float,
    seconds: float,
    skipped: int,
) -> Summary:
    """The content of summary.json."""
    last, best = progress.evaluations[-1], progress.best or progress.evaluations[-1]
    return Summary(
        format=FORMAT,
        stage=stage,
        name=name,
        tags=tags,
        parent=parent,
        commands=commands,
        seed=seed,
        parameters=parameters,
        iterations=progress.iteration,
        documented=documented,
        changed=[*changed, *_earlier_changes(progress, changed)],
        estimated=Estimated(train=last.train, val=last.val),
        estimated_over=estimated_over,
        best=Best(val=best.val, iteration=best.iteration),
        exact=Exact(val=exact_val),
        target=target,
        counted_seconds=round(progress.seconds + progress.preparing_seconds, 2),
        averaged=len(progress.averaged),
        last_batch=last_batch if math.isfinite(last_batch) else None,
        tokens_per_second=round(tokens_per_second),
        seconds=round(seconds, 2),
        skipped=skipped,
        device=_device_name(runtime.device),
        dtype=str(runtime.dtype).removeprefix("torch."),
        versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        git_commit=_git_commit(),
        finished=datetime.now().astimezone().replace(microsecond=0),
    )


def _earlier_changes(progress: Progress, changed: list[str]) -> list[str]:
    """What was different in an earlier part of the run: another value, or the documented one.

    The numbers of iterations and of evaluation batches are left out, because they leave no trace in the weights.
    """
    traceless = ("training.max_iters=", "training.eval_iters=")
    earlier = []
    for segment in progress.history:
        keys = {change.partition("=")[0] for change in segment.changed}
        now_changed = [change.partition("=")[0] for change in changed if not change.startswith(traceless)]
        differing = [c for c in segment.changed if c not in changed and not c.startswith(traceless)]
        differing += [f"{key} as documented" for key in now_changed if key not in keys]
        earlier += [f"{change} until iteration {segment.until}" for change in differing]
    return earlier


def closing_lines(summary: Summary, run: RunFolder) -> list[str]:
    """The lines that end a run's log: the losses, and what to do next."""
    documented, estimated = summary.documented, summary.estimated
    lines = [_row("", "train", "validation", "(nats per token)")]
    if not summary.changed and documented.kind == "mini-batch":
        lines += [
            _row("documented", documented.train, documented.val, "one training mini-batch, varies by about 0.1"),
            _row("last batch", summary.last_batch, None, "last training mini-batch of this run"),
        ]
    elif not summary.changed:
        note = documented.kind or "no figure was documented"
        lines.append(_row("documented", documented.train, documented.val, note))
    lines.append(_row("measured", estimated.train, estimated.val, f"estimated over {summary.estimated_over}"))
    of_what = " by the averaged weights" if summary.averaged else ""
    lines.append(_row("exact", None, summary.exact.val, f"every target of the validation split once{of_what}"))
    if documented.kind == "estimated" and not summary.changed:
        train = None if documented.train is None else f"{estimated.train - documented.train:+.4f}"
        val = None if documented.val is None else f"{estimated.val - documented.val:+.4f}"
        lines.append(_row("difference", train, val, "measured - documented"))
    if summary.target is not None:
        result = "reached" if summary.exact.val <= summary.target else "missed"
        counted = f"{summary.counted_seconds:.1f} s of training steps and their preparation"
        lines.append(f"target {summary.target:.4f} {result} after {counted}")
    if summary.best.iteration != summary.iterations:
        lines.append(f"best validation loss {summary.best.val:.4f} at iteration {summary.best.iteration}")
    if summary.changed:
        lines.append(f"not the documented run of {summary.stage}: {', '.join(summary.changed)}")
    lines += [
        f"{summary.seconds:.1f} s, {summary.tokens_per_second:,.0f} tokens/s in training steps",
        f"run folder: {run.path}",
        f"sample from it: {command('generate')} run={shlex.quote(str(run.path))}",
    ]
    return lines


def plot_run(run: RunFolder, summary: Summary) -> None:
    """Draw the run's losses over iterations as loss.png; the documented ones as well, if it is such a run."""
    from matplotlib.figure import Figure  # slow to import, and needed once a run

    metrics = run.metrics()
    iterations = [line.iteration for line in metrics]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [step for step in run.steps() if step.loss is not None]
    if steps:
        losses: Any = [step.loss for step in steps]
        axes.plot([step.iteration for step in steps], losses, color="lightgrey", linewidth=0.8, label="mini-batch")
    for split, colour in (("train", "tab:blue"), ("val", "tab:orange")):
        axes.plot(
            iterations, [getattr(line, split) for line in metrics], ".-", color=colour, label=f"{split}, estimated"
        )
        loss = getattr(summary.documented, split)
        if loss is not None and not summary.changed:
            label = f"{split}, documented {loss:.4f} ({summary.documented.kind})"
            axes.axhline(loss, color=colour, linestyle=":", label=label)
    best = summary.best
    axes.plot(
        best.iteration, best.val, "o", color="tab:orange", markerfacecolor="none", markersize=9,
        label=f"best, {best.val:.4f} at iteration {best.iteration:,}",
    )  # fmt: skip
    count = len(summary.changed)
    changes = f", {count} {'change' if count == 1 else 'changes'} from the documented run" if count else ""
    title = f"{summary.name or summary.stage}, seed {summary.seed}{changes}"
    axes.set_title(printable(title), fontsize="medium", parse_math=False)
    axes.set(xlabel="iteration", ylabel="loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend()
    write_png(run.path / "loss.png", figure)


def _row(name: str, train: float | str | None, val: float | str | None, note: str) -> str:
    cells = ["-" if loss is None else loss if isinstance(loss, str) else f"{loss:.4f}" for loss in (train, val)]
    return f"{name:<12}{cells[0]:>9}{cells[1]:>12}   {note}".rstrip()


def _device_name(device: torch.device) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def _git_commit() -> str | None:
    """The commit this code is at, with "-dirty" if it was changed since; None outside a git checkout."""
    clone = Path(__file__).parent.parent.parent
    if not (clone / ".git").exists():  # an installed package may lie in the checkout of another project
        return None
    describe = ["git", "-C", str(clone), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
