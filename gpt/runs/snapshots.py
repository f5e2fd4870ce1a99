"""Snapshots: the weights of a run at moments of its training, one file each.

snapshots/00000640.safetensors    the weights after 640 updates
"""

from torch import Tensor

from gpt.base.files import is_temporary
from gpt.base.schema import Saved
from gpt.runs.folder import RunFolder
from gpt.runs.weights import iteration_of, save_weights

_GROWTH = 100  # the speed at which the moments pass at the end, as a multiple of that at the beginning


def moments(count: int, max_iters: int) -> list[int]:
    """Iteration 0 and up to `count` later ones, ending with `max_iters`; none if `count` is 0.

    The steps between them grow geometrically, because a model changes most at the beginning: with 20, the first is
    0.3 % of the training, and the last 21 %. A short training has fewer moments.
    """
    parts = min(count, max_iters)
    fractions = ((_GROWTH ** (k / parts) - 1) / (_GROWTH - 1) for k in range(parts + 1)) if parts else ()
    return sorted({round(max_iters * fraction) for fraction in fractions})


def save_snapshot(run: RunFolder, tensors: dict[str, Tensor], iteration: int) -> None:
    """Save a model's weights after `iteration` updates."""
    run.lock.check()
    run.weights(iteration).parent.mkdir(exist_ok=True)
    save_weights(run, tensors, iteration, iteration)


def leading_to(run: RunFolder, which: Saved | int) -> dict[int, Saved | int]:
    """The snapshots before some weights of the run, and these weights last, by iteration; empty if there are none.

    Raises UserError if the file of these weights is damaged, and as `RunFolder.snapshots` does.
    """
    kept = run.snapshots()
    end = iteration_of(run, which) if kept else None
    if end is None or kept[0] >= end:
        return {}
    earlier: dict[int, Saved | int] = {iteration: iteration for iteration in kept if iteration < end}
    return earlier | {end: which}


def remove_snapshots_after(run: RunFolder, iteration: int) -> None:
    """Remove the snapshots after `iteration`, and temporary files left by a killed process.

    Raises UserError as `RunFolder.snapshots` does.
    """
    for later in [moment for moment in run.snapshots() if moment > iteration]:
        run.weights(later).unlink()
    for path in (run.path / "snapshots").glob(".*"):
        if is_temporary(path.name) and not path.is_dir():
            path.unlink()
