"""Choices of a configuration: classes and functions of this package, with their hyperparameters.

A choice is a mapping such as

    _target_: gpt.models.v5_residual.GPT
    block_size: 8
    n_embd: 32

Its schema is the signature of the class or function it names: names, types and ranges are checked against it. The
ranges below are for annotating such signatures. A run folder contains choices too and is untrusted, so a name is looked
up only in the modules of one package and in what this process was given, and used only if its `Registry` accepts the
object.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from gpt.base.errors import RequestError, explain, printable
from gpt.base.typed import expanded

Size = Annotated[int, Field(ge=1, le=2**16)]  # of channels, heads, hidden layers
Depth = Annotated[int, Field(ge=1, le=256)]  # of a stack of layers
Length = Annotated[int, Field(ge=1, le=2**20)]  # of a window, in tokens
BatchSize = Annotated[int, Field(ge=1, le=2**20)]  # in windows, or in target tokens
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]  # a fraction, a probability, a decay rate
NonNegative = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]  # in float32 too
_OWN = re.compile(r"(\w+)@(\w+)\.(.+)")  # the target of code of one's own: its file, its digest and its name

GIVEN: dict[str, Callable[..., Any]] = {}  # code of one's own that this process was given, by its target


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path has no null character")
    return expanded(text)


PathName = Annotated[str, Field(min_length=1), AfterValidator(_path)]  # ~ is expanded when it is validated
PathNames = PathName | Annotated[list[PathName], Field(min_length=1)]


class Choice(BaseModel):
    """The name of a class or function, and its hyperparameters."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    target: str = Field(alias="_target_")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything except the name."""
        return dict(self.model_extra or {})

    @property
    def is_own(self) -> bool:
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
            if choice.is_own:  # A ValueError of the user's code can be a bug, and a bug keeps its traceback.
                return target(*arguments, **given, **values)
            try:
                return target(*arguments, **given, **values)
            except ValueError as error:
                raise RequestError(f"{self.key}: {str(error).partition(chr(10))[0]}") from None

        return call

    def find(self, choice: Choice) -> Callable[..., Any]:
        """The class or function that `choice` names. Raises RequestError if it is not valid here."""
        if choice.target in GIVEN:
            return self.adapt(GIVEN[choice.target])
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
        signature = inspect.signature(target, eval_str=True).parameters
        return {
            name: parameter.replace(annotation=Any) if parameter.annotation is parameter.empty else parameter
            for name, parameter in signature.items()
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
            name: validated(taken[name].annotation, value, f"{self.key}.{name}", is_strict=not choice.is_own)
            for name, value in values.items()
        }


def require(**choices: Choice) -> None:
    """Raise RequestError if choices, by their groups, are code of one's own that this process was not given."""
    missing = {group: _OWN.fullmatch(x.target) for group, x in choices.items() if x.target not in GIVEN}
    own = {group: found.groups() for group, found in missing.items() if found}
    for file, digest, name in own.values():
        if digest.startswith("python"):
            raise RequestError(
                f"this is a run of {name} of another program: give it, as in gpt.load(..., module={name})"
            )
        if any(target.startswith(f"{file}@") for target in GIVEN):
            raise RequestError(f"this run needs the {file}.py with the SHA-256 {digest}...: the one given is another")
    if own:
        words = " ".join(f"{group}={file}.py:{name}" for group, (file, _, name) in own.items())
        raise RequestError(f"this run has code of your own, and a run folder has none: add {words}")


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
