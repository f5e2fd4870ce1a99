"""What a run is for: everything that differs between continuing a text and translating is behind `Task`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from gpt.config import EvaluateConfig, GenerateConfig
from gpt.data.batch import Batch, Data
from gpt.data.corpora import PairCorpus, TextCorpus
from gpt.data.text import ShortWindows
from gpt.errors import RequestError
from gpt.runs.records import Vocabulary

Corpus = TextCorpus | PairCorpus


@dataclass(frozen=True)
class Measure:
    """A figure that says how good a model is."""

    name: str
    value: float
    unit: str  # or a signature that makes it comparable
    digits: int = 2  # to show after the point


class Task(ABC):
    """A run's tokenizer and batches, its sample output and its scores."""

    does: ClassVar[str]  # as in "a run that {does}": "continues a text"
    options: ClassVar[frozenset[str]]  # keys of generate.py, evaluate.py and train.py that only this task has
    splits: ClassVar[tuple[str, ...]]  # that a model can be evaluated on, the default one first
    token: ClassVar[str]  # what a token is, in a word
    undecodable: ClassVar[str] = "strict"  # what `bytes.decode` does with a prompt file that is not UTF-8
    vocab_size: int

    @abstractmethod
    def vocabulary(self, corpus: Corpus) -> Vocabulary:
        """The content of tokenizer.json."""

    @abstractmethod
    def described(self, corpus: Any) -> str:
        """The size of the corpus and of the vocabulary, in a line."""

    @abstractmethod
    def data(self, corpus: Any, model: nn.Module, device: torch.device, short: ShortWindows | None = None) -> Data:
        """The corpus in batches for the model; `short` is for a text's first batches.

        Raises RequestError if the corpus is too small or its sentences are too long.
        """

    def prepare(self, model: nn.Module, data: Any) -> None:  # noqa: B027
        """What a stage does with the training split before the first iteration; most do nothing."""

    @abstractmethod
    def examples(self, model: nn.Module, corpus: Any) -> list[str]:
        """Lines for the log that show what the model has learned; may be empty."""

    @abstractmethod
    def sample(self, model: nn.Module, corpus: Any, seed: int) -> str:
        """The content of a run's sample.txt."""

    @abstractmethod
    def respond(self, model: nn.Module, prompt: str | None, config: GenerateConfig) -> Iterator[str]:
        """Yield the output for a prompt piece by piece."""

    @abstractmethod
    def output(self, model: nn.Module, prompt: str | None, **options: Any) -> str:
        """The output for a prompt, without the prompt; `options` are those of the function that generates it."""

    @abstractmethod
    def batches(self, model: nn.Module, text: str, target: str | None, *, tokens_per_pass: int) -> Iterable[Batch]:
        """A text, or a sentence and its translation, in batches on the model's device, with each target once."""

    @abstractmethod
    def scores(self, model: nn.Module, corpus: Any, split: str, config: EvaluateConfig) -> list[Measure]:
        """Measures other than the loss."""

    def refuse_others(self, given: Iterable[str]) -> None:
        """Raises RequestError if a key on the command line belongs to the other task."""
        for other in Task.__subclasses__():
            for key in sorted(set(given) & other.options - self.options):
                raise RequestError(f"{key} is for a run that {other.does}, but this one {self.does}")

    def split(self, wanted: str | None) -> str:
        """The split to evaluate on. Raises RequestError if the corpus has no such split."""
        if wanted is not None and wanted not in self.splits:
            raise RequestError(f"split={wanted} does not exist: a run that {self.does} has {', '.join(self.splits)}")
        return wanted or self.splits[0]
