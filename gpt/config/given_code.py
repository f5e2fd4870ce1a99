"""Code of one's own as a choice: model=FILE.py, optimizer=FILE.py:Class and schedule=FILE.py:function.

Its target names the file and the beginning of its SHA-256, as in net@3fa1b2c4d5e6.Net. A run folder has that name and
no code, so that its run is opened only by a command that is given the same file.
"""

import hashlib
import inspect
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore

from gpt.base.errors import RequestError
from gpt.base.typed import expanded, is_file, listed
from gpt.config.choices import GIVEN, Choice, Registry
from gpt.config.composing import choices_of
from gpt.config.override import Override

_FILE = re.compile(r"([^()]+\.py)(:\w+)?")
_SEARCHED = {  # what a file is searched for
    "model": "class with forward() whose constructor takes vocab_size",
    "optimizer": "class with step()",
    "schedule": "function of the step",
}
_NO_SETTINGS = {"vocab_size", "padding_idx", "params", "lr", "model", "learning_rate", "max_iters", "peak"}
_typed: dict[str, Override] = {}  # what was typed for each target; its value is the name of a choice


def is_code(setting: Override) -> bool:
    """Whether a setting names a file of Python, or a class or function in one."""
    is_choice = setting.key in (*_SEARCHED, "stage")
    return is_choice and any(map(_FILE.fullmatch, listed(setting.value or "")))


def taken(settings: Sequence[Override], *, is_of_training: bool = True) -> list[Override]:
    """The settings, after the code that they name is loaded. Raises RequestError if it is missing or does not fit.

    A class of torch.optim becomes a choice, too. Commands that open runs get the stage instead of the file.
    """
    return [_taken(each, is_of_training=is_of_training) for each in settings]


def _taken(setting: Override, *, is_of_training: bool) -> Override:
    names = [expanded(name) for name in listed(setting.value or "")]
    if setting.key == "optimizer":
        _add_from_torch({*names} - {*choices_of("optimizer")})
    if not is_code(setting):
        return setting
    group = "model" if setting.key == "stage" else setting.key
    targets = {name: load(group, name) for name in names if _FILE.fullmatch(name)}
    if not is_of_training:
        names = [targets.get(name, name).partition("@")[0] for name in names]
    return replace(setting, value=",".join(names))


def load(group: str, typed: str) -> str:
    """Load what was typed as a choice of the group; returns its target."""
    found = _FILE.fullmatch(typed)
    path, name = (found[1], (found[2] or "")[1:]) if found else (typed, "")
    if not is_file(path):
        raise RequestError(f"there is no file {path}")
    module = _executed(Path(path))
    own = {key: x for key, x in vars(module).items() if getattr(x, "__module__", None) == module.__name__}
    fitting = {key: x for key, x in own.items() if _fits(group, x)}
    if not fitting or (name and name not in fitting):
        raise RequestError(f"{typed} is no {_SEARCHED[group]}" if name else f"{path} has no {_SEARCHED[group]}")
    if not name and len(fitting) > 1:
        raise RequestError(f"{path} has {', '.join(fitting)}: name one, as in {group}={path}:{[*fitting][-1]}")
    name = name or next(iter(fitting))
    return add(group, typed, f"{module.__name__}.{name}", fitting[name], f"{name} of {Path(path).name}")


def _executed(path: Path) -> ModuleType:
    """The file as a module, executed once for each content of it; it can import its neighbours."""
    content, stem = path.read_bytes(), re.sub(r"\W", "_", path.stem)
    name = f"{stem}@{hashlib.sha256(content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__, before = str(path.absolute()), [*sys.path]
    sys.path.insert(0, str(path.absolute().parent))
    try:
        exec(compile(content, module.__file__, "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == module.__file__]
        place = f"line {lines[-1]}: " if lines else ""
        raise RequestError(f"{path}: {place}{type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path[:] = before
    return module


def _fits(group: str, value: Any) -> bool:
    if group == "model":
        has_forward = isinstance(value, type) and hasattr(value, "forward")
        return has_forward and "vocab_size" in inspect.signature(value).parameters
    if group == "schedule":
        return inspect.isfunction(value) and len(inspect.signature(value).parameters) > 0
    return isinstance(value, type) and hasattr(value, "step")


def _add_from_torch(names: Collection[str]) -> None:
    """Add the classes of torch.optim with these names, in whatever case, as choices of an optimizer."""
    if not names:
        return
    import torch

    known = {name.lower(): kind for name, kind in vars(torch.optim).items() if _fits("optimizer", kind)}
    for name in names:
        if kind := known.get(name.lower()):
            add("optimizer", name, f"torch.optim.{kind.__name__}", kind)


def add(group: str, typed: str, target: str, code: Callable[..., Any], adds: str = "") -> str:
    """Add code as a choice of a group, under the name that was typed; its keys are its parameters. Returns `target`.

    `adds` describes a stage.
    """
    parameters = [*inspect.signature(code).parameters.values()][group == "schedule" :]  # without the step
    values = {p.name: "???" if p.default is p.empty else p.default for p in parameters if _is_setting(p)}
    node: dict[str, Any] = {"_target_": target, **values}
    if group == "model":
        nothing = dict.fromkeys(("train", "val", "kind"))
        node = {"stage": target.partition("@")[0], "adds": adds, "model": node, "documented": nothing}
    *folders, name = typed.split("/")
    place = "/".join([group, *filter(None, folders)])
    ConfigStore.instance().store(name, node, place, "_global_" if group == "model" else group)
    _typed[target] = Override(group, typed)
    if "@" in target:
        GIVEN[target] = code
    return target


def of_program(group: str, function: Callable[..., Any]) -> str:
    """Add a function of the calling program as a choice of a group, and return the choice.

    Its factors of the first thousand steps tell it apart.
    """
    if group != "schedule":
        raise RequestError(f"{group}= is a value: only schedule= takes a function, and module= a module")
    name = re.sub(r"\W", "_", getattr(function, "__name__", type(function).__name__))
    factors = repr([function(step) for step in range(1000)])
    target = f"{name}@python_{hashlib.sha256(factors.encode()).hexdigest()[:12]}.{name}"
    return add(group, target, target, function)


def _is_setting(parameter: inspect.Parameter) -> bool:
    """Whether a key can set a parameter: without a default, or with a number, a text or several of them."""
    default, is_variable = parameter.default, parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    values = default if isinstance(default, list | tuple) else [default]
    is_literal = default is parameter.empty or all(isinstance(value, int | float | str | None) for value in values)
    return is_literal and not is_variable and parameter.name not in _NO_SETTINGS


def words(*choices: Choice) -> str:
    """What gives a command the code of these choices, as in " model=net.py"; "" for code of this package."""
    own = (_typed[choice.target] for choice in choices if choice.target in _typed and choice.is_own)
    return "".join(f" {shlex.quote(str(typed))}" for typed in own)


def name_of(group: str, target: str) -> str | None:
    """The choice that a user types for this target; None for a file of conf/.

    Raises RequestError for code that this process was not given.
    """
    if target.startswith("torch.optim."):
        _add_from_torch([target.rpartition(".")[2]])
    if target not in _typed and "@" in target:
        Registry(group, "", "", "", callable).find(Choice(_target_=target))
    return _typed[target].value if target in _typed else None
