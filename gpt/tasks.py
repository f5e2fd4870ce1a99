"""The two tasks: continuing a text, and translating. Everything that differs between the two is behind `Task`."""

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn

from gpt.choices import Choice
from gpt.config import EvaluateConfig, GenerateConfig
from gpt.data.batch import Data
from gpt.data.characters import CharTokenizer
from gpt.data.corpora import LOADER, PairCorpus, TextCorpus, lines_of
from gpt.data.text import TextData
from gpt.decoding.packing import packed
from gpt.decoding.sampling import default_prompt, generate, sample_text
from gpt.errors import RequestError
from gpt.models import STAGE
from gpt.runs.records import Vocabulary

if TYPE_CHECKING:
    from gpt.data.subwords import Subwords

Corpus = TextCorpus | PairCorpus

_MOST_TOKENS = 100_000_000  # generated per command; they take about a gigabyte

_GREEDY = {"beam": 1, "length_penalty": 0.0}


class Task(ABC):
    """A run's tokenizer and batches, its sample output and its scores."""

    name: ClassVar[str]  # as in "this run {name}s": "continues a text"
    options: ClassVar[frozenset[str]]  # keys of generate.py, evaluate.py and train.py that only this task has
    held_out: ClassVar[tuple[str, ...]]  # the splits that a model can be evaluated on, the default one first
    vocab_size: int

    @abstractmethod
    def vocabulary(self, corpus: Corpus) -> Vocabulary:
        """The content of tokenizer.json."""

    @abstractmethod
    def data(self, corpus: Any, model: nn.Module, device: torch.device) -> Data:
        """The corpus in batches for the model. Raises RequestError if it is too small or its sentences too long."""

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
    def scores(self, model: nn.Module, corpus: Any, split: str, config: EvaluateConfig) -> list[tuple[str, str, str]]:
        """Measures other than the loss: name, value, unit or signature."""

    def refuse_others(self, given: Iterable[str]) -> None:
        """Raises RequestError if a key on the command line belongs to the other task."""
        for other in _TASKS.values():
            for key in sorted(set(given) & other.options - self.options):
                raise RequestError(f"{key} is for a run that {other.name}, but this one {self.name}")

    def split(self, wanted: str | None) -> str:
        """The split to evaluate on. Raises RequestError if the corpus has no such split."""
        if wanted is not None and wanted not in self.held_out:
            raise RequestError(f"split={wanted} does not exist: a run that {self.name} has {', '.join(self.held_out)}")
        return wanted or self.held_out[0]


class Continuation(Task):
    """Continuing a text, character by character."""

    name = "continues a text"
    options = frozenset(
        {"tokens", "num_samples", "temperature", "top_k", "top_p", "seed", "dtype", "training.eval_iters"}
    )
    held_out = ("val",)

    def __init__(self, tokenizer: CharTokenizer) -> None:
        self._tokenizer = tokenizer
        self.vocab_size = len(tokenizer)

    def vocabulary(self, corpus: Corpus) -> Vocabulary:
        """The characters."""
        return Vocabulary(vocabulary=self._tokenizer.vocabulary, corpus=corpus.digest)

    def data(self, corpus: TextCorpus, model: nn.Module, device: torch.device) -> TextData:
        """Windows of the model's block_size."""
        return TextData(corpus, self._tokenizer, block_size=cast(int, model.block_size), device=device)

    def examples(self, model: nn.Module, corpus: TextCorpus) -> list[str]:  # noqa: ARG002
        """None: a sample long enough to judge is written at the end of the run."""
        return []

    def sample(self, model: nn.Module, corpus: TextCorpus, seed: int) -> str:  # noqa: ARG002
        """500 characters."""
        return sample_text(model, self._tokenizer, seed=seed)

    def respond(self, model: nn.Module, prompt: str | None, config: GenerateConfig) -> Iterator[str]:
        """The prompt and its continuation, character by character; several samples one after the other."""
        if prompt == "":
            raise RequestError("the prompt is empty: give at least one character, or no prompt")
        if config.num_samples * config.tokens > _MOST_TOKENS:
            raise RequestError(f"num_samples * tokens has to be at most {_MOST_TOKENS:,}: use several commands")
        ids = self._tokenizer.encode(default_prompt(self._tokenizer) if prompt is None else prompt)
        steps = generate(
            packed(model, getattr(torch, config.dtype)), ids, tokens=config.tokens, num_samples=config.num_samples,
            temperature=config.temperature, top_k=config.top_k, top_p=config.top_p, seed=config.seed,
        )  # fmt: skip
        if config.num_samples == 1:
            yield prompt or ""
            yield from (self._tokenizer.decode(step) for step in steps)
            yield "\n"
            return
        samples = zip(*(step.tolist() for step in steps), strict=True)  # one batch, so all finish together
        for number, sample in enumerate(samples, start=1):
            print(f"sample {number} of {config.num_samples}", file=sys.stderr, flush=True)
            yield f"{prompt or ''}{self._tokenizer.decode(sample)}\n\n"

    def scores(
        self, model: nn.Module, corpus: TextCorpus, split: str, config: EvaluateConfig
    ) -> list[tuple[str, str, str]]:
        """None: the loss is the only measure."""
        del model, corpus, split, config
        return []


class Translation(Task):
    """Translating sentences."""

    name = "translates"
    options = frozenset({"beam", "length_penalty"})
    held_out = ("test", "val")

    def __init__(self, tokenizer: "Subwords") -> None:
        self._tokenizer = tokenizer
        self.vocab_size = len(tokenizer)

    def vocabulary(self, corpus: Corpus) -> Vocabulary:
        """The subwords and how they are merged."""
        vocabulary, merges = self._tokenizer.vocabulary, self._tokenizer.merges
        return Vocabulary(vocabulary=vocabulary, merges=merges, corpus=corpus.digest)

    def data(self, corpus: PairCorpus, model: nn.Module, device: torch.device) -> Data:
        """Padded batches of pairs of similar lengths."""
        from gpt.data.pairs import PairData

        return PairData(corpus, self._tokenizer, block_size=cast(int, model.block_size), device=device)

    def examples(self, model: nn.Module, corpus: PairCorpus) -> list[str]:
        """The first validation sentences, their references, and the model's translations."""
        pairs, was_training = corpus.val[:3], model.training
        outputs = self._translate(model, [source for source, _ in pairs], **_GREEDY)
        model.train(was_training)
        return [
            f"  {name} {line}"
            for (source, target), output in zip(pairs, outputs, strict=True)
            for name, line in (("source", source), ("target", target), ("output", output))
        ]

    def sample(self, model: nn.Module, corpus: PairCorpus, seed: int) -> str:
        """The same lines as `examples`."""
        del seed  # nothing is drawn
        return "\n".join(self.examples(model, corpus)) + "\n"

    def respond(self, model: nn.Module, prompt: str | None, config: GenerateConfig) -> Iterator[str]:
        """Yield the translation of each line of the prompt or, without one, of standard input, line by line."""
        search = {"beam": config.beam, "length_penalty": config.length_penalty}
        if prompt is not None:
            if not prompt.strip():
                raise RequestError("the prompt is empty: give at least one word")
            self._tokenizer.refuse_unknown(prompt.replace("\n", " ").replace("\r", " "))
            yield "".join(f"{line}\n" for line in self._translate(model, lines_of(prompt), **search))
            return
        if sys.stdin.isatty():
            print("enter one sentence per line; press Ctrl-D to end", file=sys.stderr)
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                sentence = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise RequestError(f"line {number} of standard input is not UTF-8: {error.reason}") from None
            self._tokenizer.refuse_unknown(sentence)
            yield self._translate(model, [sentence], **search)[0] + "\n"

    def scores(
        self, model: nn.Module, corpus: PairCorpus, split: str, config: EvaluateConfig
    ) -> list[tuple[str, str, str]]:
        """BLEU, chrF and the share of exact translations, with their signatures."""
        from gpt.decoding.scores import scores

        pairs = getattr(corpus, split)
        search = {"beam": config.beam, "length_penalty": config.length_penalty}
        outputs = self._translate(model, [source for source, _ in pairs], **search)
        return [(s.name, f"{s.value:.2f}", s.signature) for s in scores(outputs, [target for _, target in pairs])]

    def _translate(self, model: nn.Module, sentences: list[str], **search: Any) -> list[str]:
        from gpt.decoding.beam_search import translate

        return translate(model, self._tokenizer, sentences, **search)


_TASKS: dict[type, type[Task]] = {TextCorpus: Continuation, PairCorpus: Translation}


def load(data: Choice, model: Choice, vocabulary: Vocabulary | None = None) -> tuple[Task, Corpus]:
    """The task and the corpus that a configuration names.

    The tokenizer is built from the corpus, or from the `vocabulary` of a resumed run. Raises RequestError if the stage
    is for the other task.
    """
    returns = inspect.signature(LOADER.find(data), eval_str=True).return_annotation
    translates = "source" in inspect.signature(cast(type[nn.Module], STAGE.find(model)).forward).parameters
    if translates != (returns is PairCorpus):
        name = data.target.rpartition(".")[2]
        does, needs = ("translates", "pairs, such as data=multi30k") if translates else ("continues a text", "a text")
        raise RequestError(f"data={name} does not fit a stage that {does}: it needs {needs}")
    if translates:
        subwords = _subwords()  # before the corpus is downloaded
    corpus: Corpus = LOADER.build(data)
    if vocabulary is not None:
        return of(vocabulary), corpus
    if isinstance(corpus, TextCorpus):
        return Continuation(CharTokenizer(corpus.train + corpus.val)), corpus
    lines = (line for pair in corpus.train for line in pair)
    return Translation(subwords.trained_on(lines, corpus.vocab_size)), corpus


def of(vocabulary: Vocabulary) -> Task:
    """The task of a run, with the tokenizer that it was trained with."""
    if isinstance(vocabulary.vocabulary, str):
        return Continuation(CharTokenizer(vocabulary.vocabulary))
    return Translation(_subwords()(vocabulary.vocabulary, vocabulary.merges or []))


def _subwords() -> "type[Subwords]":
    """The subword tokenizer. Raises RequestError if its library, which only translation needs, is not installed."""
    try:
        from gpt.data.subwords import Subwords
    except ModuleNotFoundError as error:
        raise RequestError(f"{error.name} is not installed: pip install -e '.[translate]'") from None
    return Subwords
