"""Training, opening and comparing runs from Python: `gpt.train`, `gpt.load` and `gpt.compare`; see docs/python.md.

Everything is imported in the functions, so that `import gpt` is quick.
"""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gpt.config.command import Command
    from gpt.config.schema import Weights
    from gpt.reports.comparison import ComparisonReport
    from gpt.session.trained import Trained, TrainedRun
    from gpt.session.user_module import Module

_TRAINING = threading.Lock()  # PyTorch's random state and threads belong to the whole process


def train(
    *overrides: str, module: "Module | str | None" = None, folder: "str | Path | None" = None, **values: Any
) -> "Trained":
    """Train a stage, and return the trained model.

    `overrides` are words of the command line, as in gpt.train("model=v5", "training.max_iters=500"). `values` sets keys
    by their last part, as in gpt.train("v5", max_iters=500). `module` is trained instead of a stage: a torch.nn.Module
    that maps token ids (B, T) to logits (B, T, V) and has `block_size`, or a class or function that makes one from the
    size of the vocabulary. `folder` becomes the run folder. Without it, nothing is written, and the returned model has
    the last weights, or the averaged ones if configured.

    Ctrl-C stops the run between two steps. An interactive session then gets the model so far, whose `interrupted` is
    true; a program gets KeyboardInterrupt. Raises UserError where the command line prints one line and exits.
    """
    from gpt.base.runtime import select_device
    from gpt.config.composing import compose
    from gpt.session.train import train as run_training
    from gpt.session.trained import NewlyTrained
    from gpt.session.user_module import given_module

    with _TRAINING, _undisturbed(), given_module(module) as own:
        command = _command(overrides, folder, values, own)
        config = compose(command)
        is_interactive = "ipykernel" in sys.modules or hasattr(sys, "ps1")
        summary, trainer, _ = run_training(config, command, select_device(config.device), keeps_model=is_interactive)
        if trainer is None or (folder is not None and summary is not None):  # None: it had finished
            return load(folder or config.resume, runs=config.runs, module=module, device=config.device)
        return NewlyTrained(trainer, summary)


def load(
    path: "str | Path | None" = None,
    *,
    runs: "str | Path" = "runs",
    stage: str | None = None,
    weights: "Weights" = "auto",
    device: str = "auto",
    module: "Module | str | None" = None,
) -> "TrainedRun":
    """Open the run in the folder `path`, or the newest finished run below `runs`, of any stage or of one.

    `path` may also be a run's name, "last", "best", a stage, or the name of a sweep or a search.

    `weights` may be the iteration of a snapshot. `module` is the module that the run trained instead of a stage: the
    weights are loaded into it.

    Raises RequestError if there is no run, UserError if it is damaged.
    """
    from gpt.config.command_schemas import GenerateConfig
    from gpt.config.keys import checked_values
    from gpt.session.trained import load_run

    with _documented_errors(), _usual_modes():
        given = {"run": None if path is None else str(path), "runs": str(runs)}
        checked = checked_values(GenerateConfig, given | {"stage": stage, "weights": weights, "device": device})
        return load_run(checked.pop("run"), **checked, module=module)


def compare(runs: "str | Path | Sequence[str | Path]" = "runs", **values: Any) -> "ComparisonReport":
    """Compare runs, like compare.py: a notebook and print() show the tables.

    `runs` may also be names, as in `load`.

    `values` are the keys of compare.py, as in gpt.compare("runs/2026-01-31", stage=["v5", "v6"], x="seconds"). Raises
    RequestError if there is no finished run.
    """
    from gpt.base.errors import RequestError
    from gpt.config.command_schemas import CompareConfig
    from gpt.reports.comparison import compared
    from gpt.runs.naming import run_dirs

    with _documented_errors():
        if "out" in values:
            raise RequestError("out= is for compare.py: the report that is returned has write()")
        several = [runs] if isinstance(runs, str) or hasattr(runs, "__fspath__") else runs
        names = [str(name) for name in several]
        config = CompareConfig.model_validate(values)
        return compared(config, [folder for name in names for folder in run_dirs(name)])


def _command(
    words: "Sequence[str]", folder: "str | Path | None", values: "Mapping[str, Any]", module: "Mapping[str, Any]"
) -> "Command":
    from dataclasses import replace  # imports inspect, which is slow
    from pathlib import Path

    from gpt.base.errors import RequestError
    from gpt.config.reading import read

    for word in words:
        if not isinstance(word, str):
            advice = "a module is given by name, as in gpt.train(module=...)" if callable(word) else "give text"
            raise RequestError(f'{word!r:.60} is not a setting, as in gpt.train("model=v5"): {advice}')
    said = [*map(repr, words), *(f"{name}={value!r}" for name, value in values.items())]
    said += ["module=..."] if module else []
    own: dict[str, Any] = {**values, **module}
    if folder is not None:
        if not isinstance(folder, str | Path) or not str(folder) or "\0" in str(folder):
            raise RequestError(f"folder={folder!r:.60} is not the path of a folder")
        own["hydra.run.dir"] = str(folder)
        said.append(f"folder={str(folder)!r}")
    command = read("train", words, own)
    return replace(command, line=f"gpt.train({', '.join(said)})", writes=folder is not None)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave the calling program as it was, apart from PyTorch's settings, which `run` restores itself.

    Restores signal handlers, logging, filters of warnings, the environment, random numbers and PyTorch's modes. Raises
    only documented errors. Warnings are shown; signals are handled only in the main thread.
    """
    from gpt.base.console import showing_warnings
    from gpt.base.runtime import random_numbers_kept
    from gpt.base.stopping import Stopped

    environment = dict(os.environ)  # Compilers and profilers add to it.
    try:
        with showing_warnings(), warnings.catch_warnings(), random_numbers_kept(), _usual_modes(), _documented_errors():
            yield
    except Stopped as stopped:
        raise (KeyboardInterrupt if stopped.number == signal.SIGINT else SystemExit)(str(stopped)) from None
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]


@contextlib.contextmanager
def _usual_modes() -> Iterator[None]:
    """PyTorch as in a new process: gradients, float32, on the CPU. Restored at the end."""
    import torch

    dtype, is_elsewhere = torch.get_default_dtype(), torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(mode=False),  # turns gradients on, even within no_grad
            torch.device("cpu") if is_elsewhere else contextlib.nullcontext(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def _documented_errors() -> Iterator[None]:
    """Turn an error that the command line reports in one line into a UserError with that line."""
    from gpt.base.errors import UserError, report

    try:
        yield
    except Exception as error:
        reported = report(error)
        if reported is None:
            raise
        kind = type(error) if isinstance(error, UserError) else UserError
        found = kind(reported[0])
    else:
        return
    raise found from None  # outside the handler, so that a notebook shows the line without a traceback
