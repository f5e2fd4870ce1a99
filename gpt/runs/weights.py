"""Weights of a run: safetensors files, read into the model that the run's configuration names.

last.safetensors                  after the last update; best: of the lowest estimated validation loss; averaged: a mean
snapshots/00000640.safetensors    a snapshot, after 640 updates
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gpt import models
from gpt.base.errors import RequestError, UserError
from gpt.base.files import is_temporary
from gpt.base.losses import in_words
from gpt.config.schema import Saved, Weights
from gpt.models import Stage
from gpt.registry import Choice
from gpt.runs import tensors as saved
from gpt.runs.folder import RunFolder
from gpt.training.memory import check_weights
from gpt.training.objectives import Objective, second_head

_GROWTH = 100  # the last step between snapshots divided by the first, for many snapshots


def save_weights(run: RunFolder, tensors: dict[str, Tensor], which: Saved | int, iteration: int) -> None:
    """Save a model's weights after `iteration` updates by name, replacing the previous file of the same kind."""
    path = run.weights(which)
    if isinstance(which, int):
        path.parent.mkdir(exist_ok=True)
    run.write(str(path.relative_to(run.path)), saved.of_run(tensors, iteration))


def iteration_of(run: RunFolder, which: Saved | int) -> int:
    """After how many updates the run had these weights, according to their file; for an average, its last weights.

    Raises UserError if the file is missing or damaged.
    """
    return saved.iteration_of(run.weights(which))


def load_weights(run: RunFolder, model: nn.Module, which: Saved | int) -> None:
    """Load the run's weights into a model of the same shapes. Raises UserError if they are damaged or do not fit.

    A second output layer, which some objectives train, is loaded if both have one.
    """
    model.load_state_dict(_read(run, which, model), strict=False)


def load_model(run: RunFolder, which: Saved | int) -> Stage:
    """The run's model with its weights, without a second output layer, which only training needs.

    No memory is allocated before the file's contents have been checked.
    """
    planned = planned_model(run)
    check_weights(planned)
    tensors = _read(run, which, planned)
    model = models.build(run.config().model, len(run.vocabulary().vocabulary))
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    return model


def planned_model(run: RunFolder) -> Stage:
    """The run's model as trained: shapes without memory."""
    config = run.config()
    with shapes_only(config.model):
        model = models.build(config.model, len(run.vocabulary().vocabulary))
        Objective.of(config.training).prepare(model)
    return model


def selected(run: RunFolder, which: Weights) -> Saved | int:
    """The weights by name, or the iteration of a snapshot; `auto` are the default ones."""
    return default_weights(run) if which == "auto" else which


def default_weights(run: RunFolder) -> Saved:
    """The averaged weights of a finished run that has them, else the best.

    While a run is extended, its average is from its previous end.
    """
    return "averaged" if run.is_finished() and run.weights("averaged").exists() else "best"


def existing_weights(run: RunFolder, which: Saved | int) -> Path:
    """The file of these weights. Raises UserError if it is missing, a RequestError unless they are the defaults."""
    path = run.weights(which)
    if not path.exists():
        kept = f"; it has snapshots after {', '.join(map(str, run.snapshots()))}" if run.snapshots() else ""
        kind = UserError if which == default_weights(run) else RequestError
        raise kind(f"{path} is missing: the run has no {in_words(which)}{kept}")
    return path


def snapshot_iterations(count: int, max_iters: int) -> list[int]:
    """The iterations of snapshots: 0 and up to `count` later ones, ending with `max_iters`; none if `count` is 0.

    The steps between them grow geometrically, because a model changes most at the beginning: with 20, the first is
    0.3 % of the training, and the last 21 %. A short training has fewer moments.
    """
    parts = min(count, max_iters)
    fractions = ((_GROWTH ** (k / parts) - 1) / (_GROWTH - 1) for k in range(parts + 1)) if parts else ()
    return sorted({round(max_iters * fraction) for fraction in fractions})


def leading_to(run: RunFolder, which: Saved | int) -> dict[int, Saved | int]:
    """The snapshots before some weights of the run, then these weights, by iteration; {} if there are no snapshots.

    Raises UserError if the file of these weights is damaged.
    """
    kept = run.snapshots()
    end = iteration_of(run, which) if kept else None
    if end is None or kept[0] >= end:
        return {}
    earlier: dict[int, Saved | int] = {iteration: iteration for iteration in kept if iteration < end}
    return earlier | {end: which}


def remove_snapshots_after(run: RunFolder, iteration: int) -> None:
    """Remove the snapshots after `iteration`, and temporary files left by a killed process."""
    for later in [moment for moment in run.snapshots() if moment > iteration]:
        run.weights(later).unlink()
    for path in (run.path / "snapshots").glob(".*"):
        if is_temporary(path.name):
            path.unlink()


def _read(run: RunFolder, which: Saved | int, model: nn.Module) -> dict[str, Tensor]:
    path = existing_weights(run, which)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    second = second_head(shapes)
    first = {name: shape for name, shape in shapes.items() if name not in second}
    if saved.shapes(path) not in (first, first | second):
        raise UserError(f"{path} is damaged or belongs to another model: its tensors have other shapes")
    return saved.read(path)


@contextlib.contextmanager
def shapes_only(choice: Choice) -> Iterator[None]:
    """Build the tensors of a stage inside on the meta device, without memory; code of one's own may need numbers."""
    if choice.is_user_code:
        yield
        return
    with torch.device("meta"), _Uninitialised():
        yield


class _Uninitialised(TorchFunctionMode):
    """Skip `nn.init`: drawing normal numbers on the meta device imports PyTorch's compiler, which takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        del types
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
