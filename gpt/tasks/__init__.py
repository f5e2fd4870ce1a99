"""What a run is for: continuing a text or translating. Each task names the type of corpus that selects it."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from gpt.base.errors import RequestError
from gpt.data.corpora import LOADER, type_of
from gpt.data.corpus import Corpus
from gpt.data.vocabulary import Vocabulary
from gpt.registry import Choice
from gpt.tasks.continuation import Continuation
from gpt.tasks.task import Task, every_task
from gpt.tasks.translation import Translation

__all__ = ["Continuation", "Task", "Translation", "load", "load_corpus", "of"]

Stage = nn.Module | Callable[..., Any]  # a model, its class, or a function that makes one


def of(data: Choice) -> type[Task]:
    """The task that handles the type of corpus a loader returns. Raises RequestError for anything but a loader."""
    corpus = type_of(LOADER.find(data))
    for task in every_task():
        if corpus is not None and issubclass(corpus, task.corpus):
            return task
    raise RequestError(f"data._target_={data.target} returns a {corpus and corpus.__name__}, which no task handles")


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
        does, needs = (Translation, "pairs, such as data=multi30k") if is_encoder_decoder else (Continuation, "a text")
        name = data.target.rpartition(".")[2]
        raise RequestError(f"data={name} does not fit a stage that {does.does}: it needs {needs}")
    task.check_installed()  # fails before the corpus is downloaded
    corpus: Corpus = LOADER.build(data)
    return corpus
