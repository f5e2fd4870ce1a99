"""The two tasks, continuing a text and translating; and which of them a configuration or a run is about."""

import inspect
from typing import TYPE_CHECKING, cast

from torch import nn

from gpt.choices import Choice
from gpt.data.characters import CharTokenizer
from gpt.data.corpora import LOADER, PairCorpus, TextCorpus
from gpt.errors import RequestError, requiring
from gpt.models import STAGE
from gpt.runs.records import Vocabulary
from gpt.tasks.continuation import Continuation
from gpt.tasks.task import Corpus, Task
from gpt.tasks.translation import Translation

if TYPE_CHECKING:
    from gpt.data.subwords import Subwords

__all__ = ["Continuation", "Task", "Translation", "load", "load_corpus", "of"]


def load(data: Choice, model: Choice, vocabulary: Vocabulary | None = None) -> tuple[Task, Corpus]:
    """The task and the corpus that a configuration names.

    The tokenizer is built from the corpus, or from the `vocabulary` of a resumed run. Raises RequestError as
    `load_corpus` does.
    """
    corpus = load_corpus(data, model)
    if vocabulary is not None:
        return of(vocabulary), corpus
    if isinstance(corpus, TextCorpus):
        return Continuation(CharTokenizer(corpus.train + corpus.val)), corpus
    lines = (line for pair in corpus.train for line in pair)
    return Translation(_subwords().trained_on(lines, corpus.vocab_size)), corpus


def load_corpus(data: Choice, model: Choice) -> Corpus:
    """The corpus that a configuration names. Raises RequestError if the stage is for the other task."""
    returns = inspect.signature(LOADER.find(data), eval_str=True).return_annotation
    translates = "source" in inspect.signature(cast(type[nn.Module], STAGE.find(model)).forward).parameters
    if translates != (returns is PairCorpus):
        name = data.target.rpartition(".")[2]
        does, needs = ("translates", "pairs, such as data=multi30k") if translates else ("continues a text", "a text")
        raise RequestError(f"data={name} does not fit a stage that {does}: it needs {needs}")
    if translates:
        _subwords()  # an error before the corpus is downloaded, not after
    corpus: Corpus = LOADER.build(data)
    return corpus


def of(vocabulary: Vocabulary) -> Task:
    """The task of a run, with the tokenizer that it was trained with."""
    if isinstance(vocabulary.vocabulary, str):
        return Continuation(CharTokenizer(vocabulary.vocabulary))
    return Translation(_subwords()(vocabulary.vocabulary, vocabulary.merges or []))


def _subwords() -> "type[Subwords]":
    """The subword tokenizer. Raises RequestError if its library, which only translation needs, is not installed."""
    with requiring("translate"):
        from gpt.data.subwords import Subwords
    return Subwords
