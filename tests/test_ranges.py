"""Every number that a user or a run folder can set has a range: no type of the project takes one that overflows."""

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gpt.base.errors import RequestError
from gpt.config import schema
from gpt.data.corpora import LOADER
from gpt.data.vocabulary import Vocabulary
from gpt.models import STAGE
from gpt.registry import Choice, Registry
from gpt.runs.checkpoints import _Contents
from gpt.runs.records import Parent, RecordedCommand, Summary
from gpt.training.metrics import METRIC
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE
from gpt.training.state import Clock, Evaluation, State, Step
from gpt.watching.loggers import LOGGER

RECORDS = (RecordedCommand, Parent, Summary, Vocabulary, Evaluation, Step, Clock, State, _Contents)
CONFIGS = [x for x in vars(schema).values() if isinstance(x, type) and issubclass(x, BaseModel) and x is not BaseModel]


def without_range(tree: Any, path: str = "") -> Iterator[str]:
    """The numbers of a JSON schema that lack a bound, by where they stand in it."""
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return
    if tree.get("type") in ("integer", "number") and "const" not in tree and "enum" not in tree:
        bounds = [{"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}]
        if not all(tree.keys() & bound for bound in bounds):
            yield path
    for key, value in tree.items():
        yield from without_range(value, f"{path}.{key}")


def valid(kind: Registry) -> Iterator[Callable[..., Any]]:
    """Every class or function of the package that a choice of this kind can name."""
    for module in kind._modules():
        names: dict[str, Any] = {}
        with contextlib.suppress(ModuleNotFoundError):  # of an optional library
            names = vars(importlib.import_module(module))
        for name in [name for name, value in names.items() if getattr(value, "__module__", None) == module]:
            with contextlib.suppress(RequestError):
                yield kind.find(Choice(_target_=f"{module}.{name}"))


def test_every_number_that_can_be_set_has_a_range() -> None:
    for model in (*RECORDS, *CONFIGS):
        assert list(without_range(model.model_json_schema())) == [], model
    kinds = (STAGE, LOADER, OPTIMIZER, SCHEDULE, LOGGER, METRIC)
    hyperparameters = [kind.hyperparameters(function) for kind in kinds for function in valid(kind)]
    for parameter in (parameter for each in hyperparameters for parameter in each.values()):
        assert list(without_range(TypeAdapter(parameter.annotation).json_schema())) == [], parameter


def test_a_vocabulary_has_each_token_once() -> None:
    for vocabulary in ("aab", ["<pad>", "<s>", "</s>", "<unk>", "a", "a"], "", []):
        with pytest.raises(ValidationError):
            Vocabulary.model_validate_json(json.dumps({"vocabulary": vocabulary, "corpus": ""}))
