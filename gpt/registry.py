"""The registry: from a name in a configuration, or a file of one's own, to a class or function.

A choice is a mapping such as

    _target_: gpt.models.v5_residual.GPT
    block_size: 8
    n_embd: 32

Its schema is the signature of the class or function it names: names, types and ranges are checked against it. A run
folder contains choices too and is untrusted, so a name is looked up only in the modules of one package and in the code
that this process was given, and used only if its `Registry` accepts the object.

Code of one's own, such as model=net.py, has a target that names the file and the beginning of its SHA-256, as in
net@3fa1b2c4d5e6.Net. A run folder has that name and no code, so that its run is opened only by a command that is given
the same file.
"""

import hashlib
import importlib
import inspect
import pkgutil
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from gpt.base.errors import RequestError, explain, printable
from gpt.base.paths import expanded, is_file

_OWN = re.compile(r"(\w+)@(\w+)\.(.+)")  # the target of code of one's own: its file, its digest and its name
_FILE = re.compile(r"(.+\.py)(?::(\w+))?")
_SEARCHED = {  # what a file is searched for
    "model": "class with forward() whose constructor takes vocab_size",
    "optimizer": "class with step()",
    "schedule": "function of the step",
}
_NO_SETTINGS = {"vocab_size", "padding_idx", "params", "lr", "model", "learning_rate", "max_iters", "peak"}
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_TOLD_APART = 100_000  # steps of a schedule
_given: dict[str, Callable[..., Any]] = {}  # code of one's own that this process was given, by its target
_typed: dict[str, str] = {}  # what was typed for each target of a file, as in model=net.py
_executed_files: "dict[Path, _UserFile]" = {}


class Choice(BaseModel):
    """The name of a class or function, and its hyperparameters."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    target: str = Field(alias="_target_")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything except the name."""
        return dict(self.model_extra or {})

    @property
    def is_user_code(self) -> bool:
        """Whether it is code of the user's own, which can do anything, and not of this package or PyTorch."""
        return "@" in self.target


@dataclass(frozen=True)
class Registry:
    """The valid choices for one key of a configuration."""

    key: str  # such as "model"
    noun: str  # such as "a stage"
    package: str  # where it is looked up, such as "gpt.models"
    contract: str  # what a valid object is, in a few words
    accepts: Callable[[Any], bool]  # whether an object of the package is valid here
    given: tuple[str, ...] = ()  # the arguments that come from the program rather than the configuration
    also: str = ""  # another module, for choices that are not listed
    adapt: Callable[[Any], Callable[..., Any]] = lambda target: target  # makes one of what comes from elsewhere

    def build(self, choice: Choice, **given: Any) -> Any:
        """Call the class or function that `choice` names.

        Raises RequestError if it is not valid here or does not take these values.
        """
        return self.partial(choice)(**given)

    def partial(self, choice: Choice) -> Callable[..., Any]:
        """The class or function that `choice` names, with its hyperparameters bound. Raises as `build` does."""
        target, values = self._checked(choice)

        def call(*arguments: Any, **given: Any) -> Any:
            if choice.is_user_code:  # A ValueError of the user's code can be a bug, and a bug keeps its traceback.
                return target(*arguments, **given, **values)
            try:
                return target(*arguments, **given, **values)
            except ValueError as error:
                raise RequestError(f"{self.key}: {str(error).partition(chr(10))[0]}") from None

        return call

    def find(self, choice: Choice) -> Callable[..., Any]:
        """The class or function that `choice` names. Raises RequestError if it is not valid here."""
        if choice.target in _given:
            return self.adapt(_given[choice.target])
        require(**{self.key: choice})
        module_name, _, name = choice.target.rpartition(".")
        refusal = f"{self.key}._target_={printable(choice.target)} is not {self.noun} of {self.package}"
        if module_name not in [*self._modules(), *filter(None, [self.also])]:
            raise RequestError(f"{refusal}: no such module")
        try:
            target = getattr(importlib.import_module(module_name), name, None)
        except ModuleNotFoundError as error:
            raise RequestError(f"{refusal}: its module needs {error.name}, which is not installed") from None
        is_there = module_name == self.also or getattr(target, "__module__", None) == module_name
        if name.startswith("_") or not callable(target) or not is_there:
            raise RequestError(f"{refusal}: its module defines no such name")
        if inspect.isabstract(target):
            raise RequestError(f"{refusal}: it lacks the method {', '.join(sorted(target.__abstractmethods__))}")
        if not self.accepts(target):
            raise RequestError(f"{refusal}: {self.noun} is {self.contract}")
        return self.adapt(target)

    def hyperparameters(self, target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
        """The parameters that `target` takes from the configuration, by name; one without annotation takes anything."""
        return {
            name: parameter.replace(annotation=Any) if parameter.annotation is parameter.empty else parameter
            for name, parameter in parameters_of(target).items()
            if name not in self.given
        }

    def _modules(self) -> list[str]:
        """The modules of the package, those of packages in it included."""
        inside = pkgutil.walk_packages(importlib.import_module(self.package).__path__, f"{self.package}.")
        return [module.name for module in inside if not module.ispkg]

    def _checked(self, choice: Choice) -> tuple[Callable[..., Any], dict[str, Any]]:
        target, values = self.find(choice), choice.hyperparameters
        taken = self.hyperparameters(target)
        unknown = [name for name in values if name not in taken]
        missing = [name for name, p in taken.items() if name not in values and p.default is p.empty]
        if unknown or missing:
            wrong = f"{printable(unknown[0])} is not a hyperparameter of" if unknown else f"{missing[0]} is required by"
            raise RequestError(f"{self.key}.{wrong} {choice.target}, which takes {', '.join(taken)}")
        return target, {
            name: validated(taken[name].annotation, value, f"{self.key}.{name}", is_strict=not choice.is_user_code)
            for name, value in values.items()
        }


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a class or function by name; a class that takes **kwargs takes those of its base, too."""
    found = dict(inspect.signature(target, eval_str=True).parameters)
    for base in target.__mro__[1:] if isinstance(target, type) else ():
        if inspect.Parameter.VAR_KEYWORD not in {p.kind for p in found.values()}:
            break
        if "__init__" in vars(base):
            own = {name: p for name, p in found.items() if p.kind not in _VARIABLE}
            of_torch = base.__module__.partition(".")[0] == "torch"  # nn.Module takes anything, and refuses it
            found = own | ({} if of_torch else dict(inspect.signature(base, eval_str=True).parameters)) | own
    return found


def require(**choices: Choice) -> None:
    """Raise RequestError if choices, by their groups, are code of one's own that this process was not given."""
    missing = {group: _OWN.fullmatch(x.target) for group, x in choices.items() if x.target not in _given}
    own = {group: found.groups() for group, found in missing.items() if found}
    for file, digest, name in own.values():
        if digest.startswith("python"):
            raise RequestError(
                f"this is a run of {name} of another program: give it, as in gpt.load(..., module={name})"
            )
        if any(target.startswith(f"{file}@") for target in _given):
            raise RequestError(f"this run needs the {file}.py with the SHA-256 {digest}...: the one given is another")
    if own:
        files = {_stem(path): path.stem for path in Path().glob("*.py")}  # net__1_ is the name of "net (1).py"
        words = " ".join(
            shlex.quote(f"{group}={files.get(file, file)}.py:{name}") for group, (file, _, name) in own.items()
        )
        raise RequestError(f"this run has code of your own, and a run folder has none: add {words}")


def is_user_code(group: str, typed: object) -> bool:
    """Whether a choice of a group is a file of Python, or a class or function in one."""
    return group in _SEARCHED and isinstance(typed, str) and _FILE.fullmatch(typed) is not None


def user_choice(group: str, typed: object) -> dict[str, Any] | None:
    """What a file of one's own, code of the calling program or a class of torch.optim sets; None for a name of conf/.

    Raises RequestError if a file is missing or has nothing that fits.
    """
    if is_user_code(group, typed):
        target = load_user_code(group, str(typed))
        return _node(group, target, _given[target], f"{target.rpartition('.')[2]} of {Path(str(typed)).name}")
    if group == "optimizer" and isinstance(typed, str) and (kind := _of_torch(typed)):
        return _node(group, f"torch.optim.{kind.__name__}", kind)
    if not isinstance(typed, str) and callable(typed):
        target = give(group, typed, getattr(typed, "target", None))
        return _node(group, target, typed, f"{target.rpartition('.')[2]} of the calling program")
    return None


def load_user_code(group: str, typed: str) -> str:
    """Load what was typed as a choice of the group; returns its target. Raises RequestError as `user_choice` does."""
    found = _FILE.fullmatch(typed)
    file, name = (found[1], found[2]) if found else (typed, None)
    path = Path(expanded(file))
    if not is_file(file):
        raise RequestError(f"there is no file {file}")
    executed = _executed(path)
    module = executed.module
    own = {key: x for key, x in vars(module).items() if getattr(x, "__module__", None) == module.__name__}
    fitting = {key: x for key, x in own.items() if _fits(group, x)}
    if not fitting or (name and name not in fitting):
        raise RequestError(f"{typed} is no {_SEARCHED[group]}" if name else f"{path} has no {_SEARCHED[group]}")
    if not name and len(fitting) > 1:
        raise RequestError(f"{path} has {', '.join(fitting)}: name one, as in {group}={path}:{[*fitting][-1]}")
    name = name or next(iter(fitting))
    target = f"{executed.name}.{name}"
    _given[target], _typed[target] = fitting[name], f"{group}={typed}"
    return target


def give(group: str, code: Callable[..., Any], target: str | None = None) -> str:
    """Add code of the calling program; returns its target, which tells it apart from other code."""
    if target is None:
        if group != "schedule":
            raise RequestError(f"{group}= is a value: only schedule= takes a function, and module= a module")
        name = re.sub(r"\W", "_", getattr(code, "__name__", type(code).__name__))
        target = f"{name}@python_{_digest_of_factors(code)}.{name}"
    _given[target] = code
    return target


def _digest_of_factors(schedule: Callable[..., Any]) -> str:
    """What tells a function of a program apart from others: its factors at the first steps, as far as it has them."""
    length = {"max_iters": _TOLD_APART} if "max_iters" in inspect.signature(schedule).parameters else {}
    digest = hashlib.sha256()
    for step in range(_TOLD_APART):
        try:
            digest.update(f"{schedule(step, **length)!r}\n".encode())
        except Exception:  # such as a table that ends; the run says so if it needs more
            break
    return digest.hexdigest()[:12]


def forget(target: str) -> None:
    """Let go of code of the calling program, such as a large module."""
    _given.pop(target, None)


def words(*choices: Choice) -> str:
    """What gives a command the code of these choices, as in " model=net.py"; "" for code of this package."""
    return "".join(f" {shlex.quote(_typed[choice.target])}" for choice in choices if choice.target in _typed)


class _UserFile(NamedTuple):
    """A file of one's own, executed: its module, and the sources that it was made of, its neighbours' included."""

    module: ModuleType
    sources: dict[Path, str]

    @property
    def name(self) -> str:
        """The file and the beginning of the SHA-256 of its sources: net@3fa1b2c4d5e6."""
        file, *neighbours = self.sources
        parts = [self.sources[file], *(f"{path.name}\n{self.sources[path]}" for path in sorted(neighbours))]
        return f"{_stem(file)}@{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def _executed(path: Path) -> _UserFile:
    """The file, executed once for each content of it and of the neighbours that it imports.

    Its neighbours are its own: a module of the same name from elsewhere is neither used nor replaced.
    """
    path = path.absolute()
    found = _executed_files.get(path)
    if found is not None and all(path.is_file() and _source(path) == text for path, text in found.sources.items()):
        return found
    module, before, folder = ModuleType(f"{_stem(path)}@{len(_executed_files)}"), [*sys.path], path.parent
    module.__file__ = str(path)
    names = {each.stem for each in folder.glob("*.py")} | {each.name for each in folder.iterdir() if each.is_dir()}
    others = {name: x for name, x in sys.modules.items() if name.partition(".")[0] in names and _is_of_user(x)}
    for name in others:
        del sys.modules[name]
    loaded = {*sys.modules}
    sys.modules[module.__name__] = module  # dataclasses look for it
    sys.path.insert(0, str(folder))
    try:
        exec(compile(_source(path), str(path), "exec"), vars(module))
    except Exception as error:
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == module.__file__]
        place = f"line {lines[-1]}: " if lines else ""
        raise RequestError(f"{path}: {place}{type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path[:] = before
        new = {name: sys.modules[name] for name in sys.modules.keys() - loaded - {module.__name__}}
        own = {name: x for name, x in new.items() if _is_of_user(x) and folder in Path(str(x.__file__)).parents}
        for name in own:
            del sys.modules[name]
        sys.modules |= others
    files = [Path(str(x.__file__)) for x in own.values()]
    _executed_files[path] = _UserFile(module, {file: _source(file) for file in (path, *files)})
    return _executed_files[path]


def _is_of_user(module: ModuleType) -> bool:
    """Whether a module is a file of the user's, and neither installed nor of this package."""
    file, name = getattr(module, "__file__", None), module.__name__.partition(".")[0]
    return file is not None and name not in ("gpt", *sys.stdlib_module_names) and "site-packages" not in file


def _stem(path: Path) -> str:
    return re.sub(r"\W", "_", path.stem)


def _source(path: Path) -> str:
    """The text of a file, in which the line ends of Windows are those of everybody else."""
    return path.read_bytes().decode("utf-8").replace("\r\n", "\n")


def _fits(group: str, value: Any) -> bool:
    if group == "model":
        has_forward = isinstance(value, type) and hasattr(value, "forward")
        return has_forward and "vocab_size" in parameters_of(value)
    if group == "schedule":
        return inspect.isfunction(value) and len(inspect.signature(value).parameters) > 0
    return isinstance(value, type) and hasattr(value, "step")


def _of_torch(name: str) -> type | None:
    """The class of torch.optim with this name, in whatever case."""
    import torch  # takes a second

    kinds = {key.lower(): kind for key, kind in vars(torch.optim).items() if _fits("optimizer", kind)}
    return kinds.get(name.lower())


def _node(group: str, target: str, code: Callable[..., Any], adds: str = "") -> dict[str, Any]:
    """What a choice of this code sets: its target, and its parameters with their defaults; `adds` describes a stage."""
    parameters = [*parameters_of(code).values()][group == "schedule" :]  # without the step
    values = {p.name: "???" if p.default is p.empty else p.default for p in parameters if _is_setting(p)}
    choice = {"_target_": target, **values}
    if group != "model":
        return {group: choice}
    nothing, (file, _, rest) = dict.fromkeys(("train", "val", "kind")), target.partition("@")
    digest, _, name = rest.partition(".")
    stage = file if digest.startswith("python") else f"{file}.{name}"  # v1.py is not the stage v1
    return {"stage": stage, "adds": adds, "model": choice, "documented": nothing}


def _is_setting(parameter: inspect.Parameter) -> bool:
    """Whether a key can set a parameter: without a default, or with a number, a text or several of them."""
    default, is_variable = parameter.default, parameter.kind in _VARIABLE
    values = default if isinstance(default, list | tuple) else [default]
    is_literal = default is parameter.empty or all(isinstance(value, int | float | str | None) for value in values)
    return is_literal and not is_variable and parameter.name not in _NO_SETTINGS


def validated(annotation: Any, value: Any, key: str, *, is_strict: bool = True) -> Any:
    """A value of the annotated type, with ~ expanded in paths. Raises RequestError, which names the key, for others.

    A type that has no schema, in code of one's own, takes any value.
    """
    try:
        return TypeAdapter(annotation).validate_python(value, strict=is_strict)
    except PydanticSchemaGenerationError:
        return value
    except ValidationError as error:
        raise RequestError(explain(error, key)) from None
