"""Every number that a user or a run folder can set has a range: no type of the project takes one that overflows."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gpt.base import schema
from gpt.base.choices import Registry
from gpt.data.corpora import LOADER
from gpt.data.vocabulary import Vocabulary
from gpt.models import STAGE
from gpt.runs.checkpoints import _Contents
from gpt.runs.records import Command, Parent, Summary
from gpt.training.metrics import METRIC
from gpt.training.optimizers import OPTIMIZER
from gpt.training.progress import Clock, Evaluation, Progress, Step
from gpt.training.schedules import SCHEDULE
from gpt.watching.loggers import LOGGER

RECORDS = (Command, Parent, Summary, Vocabulary, Evaluation, Step, Clock, Progress, _Contents)
CONFIGS = [x for x in vars(schema).values() if isinstance(x, type) and issubclass(x, BaseModel) and x is not BaseModel]
CHOICES = {
    name: (kind, function) for kind in (STAGE, LOADER, OPTIMIZER, SCHEDULE, LOGGER, METRIC)
    for name, function in kind.all().items()
}  # fmt: skip


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


@pytest.mark.parametrize("model", [*RECORDS, *CONFIGS], ids=lambda model: model.__name__)
def test_every_number_of_a_record_and_of_a_configuration_has_a_range(model: type[BaseModel]) -> None:
    assert list(without_range(model.model_json_schema())) == []


@pytest.mark.parametrize("name", CHOICES)
def test_every_number_among_hyperparameters_has_a_range(name: str) -> None:
    kind: Registry
    function: Callable[..., Any]
    kind, function = CHOICES[name]
    for parameter in kind.hyperparameters(function).values():
        assert list(without_range(TypeAdapter(parameter.annotation).json_schema())) == [], parameter


@pytest.mark.parametrize("vocabulary", ["aab", ["<pad>", "<s>", "</s>", "<unk>", "a", "a"], "", []])
def test_a_vocabulary_has_each_token_once(vocabulary: Any) -> None:
    with pytest.raises(ValidationError):
        Vocabulary.model_validate_json(json.dumps({"vocabulary": vocabulary, "corpus": ""}))
