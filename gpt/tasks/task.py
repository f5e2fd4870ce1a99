"""What a run is for: `Task` covers everything that differs between one task and another."""

import contextlib
import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.losses import LossScope
from gpt.config.keys import checked_values
from gpt.config.schema import Schema
from gpt.config.synonyms import by_name
from gpt.data.batch import Data, Targets
from gpt.data.vocabulary import LeftOut, Vocabulary
from gpt.models import Stage

if TYPE_CHECKING:
    from gpt.config.command_schemas import EvaluateConfig, GenerateConfig

Options = TypeVar("Options", bound=Schema)
_OF_WINDOWS = {f"training.{key}" for key in ("windows", "short_window", "short_iters", "eval_iters")}


@dataclass(frozen=True)
class Measure:
    """A measurement of how good a model is."""

    name: str
    value: float
    unit: str  # a unit, or a signature that makes it comparable
    digits: int = 2  # to show after the decimal point


class Task(ABC):
    """A run's tokenizer and batches, its sample output and its scores."""

    purpose: ClassVar[str]  # completes "a run that ...": "continues a text"
    splits: ClassVar[tuple[str, ...]]  # to evaluate a model on, the default first
    has_windows: ClassVar[bool] = True  # whether training.windows= and other keys of windows apply
    has_source: ClassVar[bool] = False  # its stages take (source, target), not (idx)
    decode_errors: str = "strict"  # `errors` of `bytes.decode` for a prompt file that is not UTF-8
    pipeline_tag: ClassVar[str] = "text-generation"  # what the Hugging Face hub calls it
    example: ClassVar[str] = ""  # arguments for `generate`, as code in a model card
    token: str  # what a token is, in a word
    vocab_size: int

    @classmethod  # noqa: B027  # most tasks need no library
    def check_installed(cls) -> None:
        """Raise RequestError if a library that only this task needs is not installed."""

    @classmethod
    @abstractmethod
    def built_for(cls, corpus: Any) -> Self:
        """The task with a tokenizer that is built from the corpus."""

    @classmethod
    @abstractmethod
    def restored(cls, vocabulary: Vocabulary) -> Self:
        """The task with the tokenizer of a run. Raises UserError if the vocabulary is not one of this task."""

    @classmethod
    def required(cls, task: "Task", what: str) -> Self:
        """The task itself, if it is of this class, which `what` requires. Raises RequestError if it is not."""
        if not isinstance(task, cls):
            raise RequestError(f"{what} is for a run that {cls.purpose}, but this one {task.purpose}")
        return task

    @abstractmethod
    def vocabulary(self, corpus: Any) -> Vocabulary:
        """The content of tokenizer.json."""

    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`. Raises RequestError if it cannot be converted."""
        raise RequestError(f"the tokenizer of a run that {self.purpose} cannot be exported for other programs")

    def left_out(self, corpus: Any) -> LeftOut | None:  # noqa: B027
        """The characters of the corpus that the tokenizer lacks and no loss counts; None if there are none."""

    def over(self, split: str, corpus: Any, model: Stage) -> LossScope:
        """The targets of a loss on a split of the corpus, as far as they are known before it is measured."""
        left_out = self.left_out(corpus)
        known = {"token": self.token, "window": model.block_size, "answers_only": corpus.answers_only}
        known["left_out"] = getattr(left_out, split) if left_out else 0
        return self.vocabulary(corpus).over(split).model_copy(update=known)

    @abstractmethod
    def described(self, corpus: Any) -> str:
        """The sizes of the corpus and the vocabulary in one line."""

    @abstractmethod
    def data(self, corpus: Any, model: Stage, device: torch.device) -> Data:
        """The corpus in batches; the model may remember it. Raises RequestError if it does not fit the model."""

    def examples(self, model: Stage, corpus: Any) -> list[str]:  # noqa: ARG002
        """Lines for the log that show what the model has learned; by default none."""
        return []

    @abstractmethod
    def sample(self, model: Stage, corpus: Any, seed: int) -> str:
        """The content of a run's sample.txt."""

    @abstractmethod
    def respond(self, model: Stage, prompt: str | None, config: "GenerateConfig") -> Iterator[Iterable[str]]:
        """Yield the outputs for a prompt, each piece by piece."""

    @abstractmethod
    def outputs(self, model: Stage, prompt: str | None, num_samples: int, **options: Any) -> list[str]:
        """Outputs for a prompt, without the prompt; `options` are fields of SamplingConfig or BeamConfig."""

    @abstractmethod
    def batches(
        self, model: Stage, text: str, target: str | None, *, tokens_per_pass: int, most: int | None = None
    ) -> Targets:
        """A text, or a text and its target, in batches on the model's device, with each target token once.

        A text with more than `most` targets gives a fixed sample of about that many.
        """

    def scores(self, model: Stage, corpus: Any, split: str, config: "EvaluateConfig") -> list[Measure]:  # noqa: ARG002
        """Measures other than the loss; by default none."""
        return []

    @classmethod
    def options(cls) -> set[str]:
        """Its own keys of generate.py and evaluate.py."""
        return set()

    @classmethod
    def check_training(cls, given: Iterable[str]) -> None:
        """Raise RequestError if a given key is about windows of a text, and the task has none."""
        for key in [] if cls.has_windows else _OF_WINDOWS & {*given}:
            raise RequestError(f"{key} is for a run that continues a text, but this one {cls.purpose}")

    @classmethod
    def refuse_others(cls, given: Iterable[str]) -> None:
        """Raise RequestError if a key of generate.py or evaluate.py belongs to another task."""
        for other in every_task():
            for key in sorted(set(given) & other.options() - cls.options()):
                raise RequestError(f"{key} is for a run that {other.purpose}, but this one {cls.purpose}")

    def split(self, wanted: str | None, corpus: Any) -> str:  # noqa: ARG002
        """The split to evaluate on. Raises RequestError if the corpus has no such split."""
        if wanted is not None and wanted not in self.splits:
            raise RequestError(f"split={wanted} does not exist: a run that {self.purpose} has {', '.join(self.splits)}")
        return wanted or self.splits[0]


def checked_options(schema: type[Options], prompt: str | None, num_samples: int, options: Mapping[str, Any]) -> Options:
    """The options of a decoder; scalars of NumPy and PyTorch become Python's, and tuples become lists.

    Raises RequestError for a name or a value that generate.py does not accept.
    """
    from gpt.config.command_schemas import GenerateConfig

    names = by_name(schema.model_fields)
    options = {names.get(name, name): value for name, value in options.items()}
    if unknown := [name for name in options if name not in schema.model_fields]:
        raise RequestError(f"{unknown[0]} is not an option here; there are {', '.join(sorted(schema.model_fields))}")
    checked_values(GenerateConfig, {"prompt": prompt, "num_samples": num_samples})
    return schema(**checked_values(schema, {name: _plain(x) for name, x in options.items()}))


def _plain(value: Any) -> Any:
    is_scalar = isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1)
    return value.item() if is_scalar else list(value) if isinstance(value, tuple) else value


@functools.cache
def every_task() -> tuple[type[Task], ...]:
    """Every task that a module of gpt.tasks defines, in the order of the modules' names."""
    found = []
    for module in pkgutil.iter_modules(importlib.import_module("gpt.tasks").__path__, "gpt.tasks."):
        with contextlib.suppress(ModuleNotFoundError):  # An optional library is missing.
            objects = vars(importlib.import_module(module.name)).values()
            own = [x for x in objects if isinstance(x, type) and x.__module__ == module.name]
            found += [x for x in own if issubclass(x, Task) and x is not Task]
    return tuple(found)
