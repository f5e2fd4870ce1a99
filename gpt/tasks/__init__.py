"""What a run is for: continuing a text or translating. A corpus names the task that handles it."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from gpt.base.errors import RequestError
from gpt.data.corpora import LOADER, type_of
from gpt.data.corpus import Corpus
from gpt.data.vocabulary import Vocabulary
from gpt.registry import Choice
from gpt.tasks.task import Task

Stage = nn.Module | Callable[..., Any]  # a model, its class, or a function that makes one


def of(data: Choice) -> type[Task]:
    """The task of the corpus that a loader returns. Raises RequestError for anything but a loader."""
    corpus = type_of(LOADER.find(data))
    module, _, name = getattr(corpus, "task", "").rpartition(".")
    if not name:
        raise RequestError(f"data._target_={data.target} returns a {corpus and corpus.__name__}, which no task handles")
    task: type[Task] = getattr(importlib.import_module(f"gpt.tasks.{module}"), name)
    return task


def load(
    data: Choice, stage: Stage, vocabulary: Vocabulary | None = None, corpus: Corpus | None = None
) -> tuple[Task, Corpus]:
    """The task and the corpus that a configuration names; `corpus` is given if it has been read already.

    Builds the tokenizer from the corpus, or a run's `vocabulary`. Raises RequestError if the stage is for another task.
    """
    task, corpus = of(data), corpus or load_corpus(data, stage)
    return task.built_for(corpus) if vocabulary is None else task.restored(vocabulary), corpus


def load_corpus(data: Choice, stage: Stage) -> Corpus:
    """The corpus that a configuration names. Raises RequestError if the stage is for another task."""
    task = of(data)
    is_encoder_decoder = "source" in inspect.signature(getattr(stage, "forward", stage)).parameters
    if is_encoder_decoder != task.has_source:
        name, needs = data.target.rpartition(".")[2], "continues a text: it needs a text"
        if is_encoder_decoder:
            needs = "translates: it needs pairs, such as data=multi30k"
        raise RequestError(f"data={name} does not fit a stage that {needs}")
    task.check_installed()  # fails before the corpus is downloaded
    corpus: Corpus = LOADER.build(data)
    return corpus
