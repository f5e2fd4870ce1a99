"""Continuing a text, token by token."""

import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.data import tokenizers
from gpt.data.batch import Data, Targets
from gpt.data.corpus import Text
from gpt.data.text import EvaluationWindows, TextData
from gpt.data.tokenizer import TextTokenizer
from gpt.data.vocabulary import LeftOut, Vocabulary
from gpt.models import Remembering, Stage
from gpt.tasks.task import Task, checked_options

if TYPE_CHECKING:
    from gpt.config.command_schemas import GenerateConfig, SamplingConfig
    from gpt.tasks.decoding.sampling import Watch

_MOST_TOKENS = 100_000_000  # per command: about a gigabyte
_OF_TEXT = ("dtype", "logprobs", "num_samples", "out", "text")

log = logging.getLogger(__name__)


class Continuation(Task):
    """Continuing a text, token by token."""

    purpose = "continues a text"
    splits = ("val", "train", "test")  # only some benchmarks have a test split
    example = "tokens=200"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer, self.token = tokenizer, tokenizer.unit
        self.vocab_size = len(tokenizer)
        self.decode_errors = "surrogateescape" if tokenizer.reads_bytes else "strict"

    @classmethod
    def options(cls) -> set[str]:
        """The options of sampling, and of texts."""
        from gpt.config.command_schemas import SamplingConfig

        return {*SamplingConfig.model_fields, *_OF_TEXT}

    @classmethod
    def built_for(cls, corpus: Text) -> "Continuation":
        """The tokenizer that the corpus asks for; by default, the characters of all splits."""
        return cls(tokenizers.built_for(corpus))

    @classmethod
    def restored(cls, vocabulary: Vocabulary) -> "Continuation":
        """The task with the tokenizer of a run. Raises UserError if the vocabulary is not one of a text."""
        return cls(tokenizers.restored(vocabulary))

    def vocabulary(self, corpus: Text) -> Vocabulary:
        """The tokens, and for subwords the merges."""
        tokenizer = self.tokenizer
        return Vocabulary(
            kind=tokenizer.kind,
            vocabulary=tokenizer.vocabulary,
            merges=tokenizer.merges,
            corpus=corpus.digest,
            covers=self._covers(corpus),
        )

    def as_json(self) -> str:
        """The tokenizer; a tokenizer of characters refuses characters outside its vocabulary."""
        return self.tokenizer.as_json()

    def known(self, text: str) -> str:
        """The text without the characters that the vocabulary lacks, with a warning."""
        known, unknown = self.tokenizer.without_unknown(text)
        if unknown:
            self._warn(len(text) - len(known), unknown)
        return known

    def left_out(self, corpus: Text) -> LeftOut | None:
        """The characters that the vocabulary, such as another run's, lacks; None if there are none."""
        if self._covers(corpus):
            return None
        lengths, encoded = corpus.lengths(), corpus.encoded(self.tokenizer)
        left_out = {split: length - len(encoded[split]) for split, length in lengths.items()}
        return LeftOut(**left_out, **{f"of_{split}": length for split, length in lengths.items()})

    def described(self, corpus: Text) -> str:
        """The sizes in characters, whatever the tokens, or in bytes if the text is not UTF-8."""
        unit, lengths = "character", corpus.lengths()
        if not corpus.is_utf8:
            unit, lengths = self.token, {split: len(ids) for split, ids in corpus.encoded(self.tokenizer).items()}
        train, val, *test = lengths.values()
        tested = "".join(f", {count:,} to test on" for count in test)
        units = "" if self.token == "character" else f" {self.token}s"
        if "\r" in corpus.characters:
            units += "; Windows line ends are kept, each with a \\r (of your own text, data.newlines=unix removes them)"
        sizes = f"{train:,} {unit}s to train on, {val:,} to validate on{tested}"
        return f"text: {sizes}; a vocabulary of {self.vocab_size:,}{units}"

    def data(self, corpus: Text, model: Stage, device: torch.device) -> Data:
        """Windows of the model's block_size, or lines. Raises RequestError for lines if the stage remembers a text."""
        remembers = isinstance(model, Remembering)
        data = corpus.as_data(self.tokenizer, block_size=model.block_size, device=device, with_starts=remembers)
        if left_out := self.left_out(corpus):
            unknown = "".join(sorted(set(corpus.characters) - set(self.tokenizer.vocabulary)))
            self._warn(left_out.count, unknown)
        if isinstance(model, Remembering) and isinstance(data, TextData):
            model.remember(data.ids("train"))
        return data

    def split(self, wanted: str | None, corpus: Text) -> str:
        """The split to evaluate on. Raises RequestError if the corpus has no such split."""
        split = super().split(wanted, corpus)
        if split not in corpus.lengths():
            raise RequestError(f"split={split} does not exist: this text has {', '.join(corpus.lengths())}")
        return split

    def sample(self, model: Stage, corpus: Text, seed: int) -> str:  # noqa: ARG002
        """500 tokens."""
        return self.outputs(model, None, 1, seed=seed)[0]

    def respond(
        self, model: Stage, prompt: str | None, config: "GenerateConfig", watch: "Watch | None" = None
    ) -> Iterator[Iterable[str]]:
        """Yield each sample: the prompt and its continuation, token by token."""
        from gpt.tasks.decoding.packing import packed

        model = packed(model, getattr(torch, config.dtype))
        for pieces in self._continued(model, prompt, config.num_samples, config, watch):
            # The bytes of a file need not be text.
            yield pieces if prompt is None else itertools.chain([self.tokenizer.decode(self._prompt(prompt))], pieces)

    def outputs(self, model: Stage, prompt: str | None, num_samples: int, **options: Any) -> list[str]:
        """Continuations; `options` are fields of SamplingConfig."""
        from gpt.config.command_schemas import SamplingConfig

        config = checked_options(SamplingConfig, prompt, num_samples, options)
        return ["".join(pieces) for pieces in self._continued(model, prompt, num_samples, config)]

    def batches(
        self, model: Stage, text: str, target: str | None, *, tokens_per_pass: int, most: int | None = None
    ) -> Targets:
        """Adjacent windows of the model's block_size. Raises RequestError for a text of fewer than two tokens."""
        if target is not None:
            raise RequestError("this run continues a text: omit the translation")
        return self.windows(model, text, tokens_per_pass, most).adjacent()

    def _covers(self, corpus: Text) -> bool:
        """Whether the vocabulary has every character of the corpus."""
        return self.tokenizer.is_complete or set(corpus.characters) <= set(self.tokenizer.vocabulary)

    def windows(self, model: Stage, text: str, tokens_per_pass: int, most: int | None) -> EvaluationWindows:
        """The windows of a text. Raises RequestError for a text of fewer than two tokens."""
        ids = self.tokenizer.encode(self.known(text)).to(next(model.parameters()).device)
        if len(ids) < 2:
            raise RequestError(f"a text needs at least two {self.token}s that the run knows")
        return EvaluationWindows(ids, model.block_size, tokens_per_pass, most)

    def _continued(
        self, model: Stage, prompt: str | None, num_samples: int, config: "SamplingConfig", watch: "Watch | None" = None
    ) -> Iterator[Iterable[str]]:
        """Continuations of a prompt. Several are computed in one batch, so that all of them finish together."""
        from gpt.tasks.decoding.sampling import generate, generate_text, until

        if config.tokens * num_samples > _MOST_TOKENS:
            raise RequestError(f"num_samples * tokens must be at most {_MOST_TOKENS:,}: generate it in several parts")
        ids = self._prompt(prompt)
        if num_samples == 1:  # It can end early, at `stop`.
            yield generate_text(model, self.tokenizer, ids, config, watch)
            return
        steps = generate(model, ids, num_samples=num_samples, watch=watch, **config.sampling())
        for sample in zip(*(step.tolist() for step in steps), strict=True):
            yield until(config.stop, self.tokenizer.pieces(sample))

    def _prompt(self, prompt: str | None) -> Tensor:
        from gpt.tasks.decoding.sampling import default_prompt

        if prompt == "":
            raise RequestError("the prompt is empty: give at least one character, or no prompt")
        return self.tokenizer.encode(default_prompt(self.tokenizer) if prompt is None else prompt)

    def _warn(self, count: int, unknown: str) -> None:
        log.warning(f"left out {count:,} characters that the vocabulary lacks: {unknown[:40]!r}")
