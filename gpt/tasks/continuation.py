"""Continuing a text, character by character."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from gpt.config import EvaluateConfig, GenerateConfig
from gpt.data.batch import Batch
from gpt.data.characters import CharTokenizer
from gpt.data.corpora import TextCorpus
from gpt.data.text import ShortWindows, TextData, adjacent_windows
from gpt.decoding.packing import packed
from gpt.decoding.sampling import default_prompt, generate, sample_text
from gpt.errors import RequestError
from gpt.models import block_size_of
from gpt.runs.records import Vocabulary
from gpt.tasks.task import Corpus, Measure, Task

_MOST_TOKENS = 100_000_000  # generated per command; they take about a gigabyte

log = logging.getLogger(__name__)


class Continuation(Task):
    """Continuing a text, character by character."""

    does = "continues a text"
    options = frozenset(
        {
            "tokens",
            "num_samples",
            "temperature",
            "top_k",
            "top_p",
            "seed",
            "dtype",
            "training.eval_iters",
            "text",
            "training.short_window",
            "training.short_iters",
        }
    )
    splits = ("val", "train")
    token = "character"

    def __init__(self, tokenizer: CharTokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = len(tokenizer)

    def vocabulary(self, corpus: Corpus) -> Vocabulary:
        """The characters."""
        return Vocabulary(vocabulary=self.tokenizer.vocabulary, corpus=corpus.digest)

    def described(self, corpus: TextCorpus) -> str:
        """Characters."""
        train, val = len(corpus.train), len(corpus.val)
        return f"text: {train:,} characters to train on, {val:,} to validate on; a vocabulary of {self.vocab_size}"

    def encoded(self, text: str) -> Tensor:
        """The token ids of a text, (T,); characters that the vocabulary lacks are left out, with a warning."""
        return self.tokenizer.encode(*self._known(text))

    def data(
        self, corpus: TextCorpus, model: nn.Module, device: torch.device, short: ShortWindows | None = None
    ) -> TextData:
        """Windows of the model's block_size, after the short ones."""
        return TextData(
            TextCorpus(*self._known(corpus.train, corpus.val)), self.tokenizer,
            block_size=block_size_of(model), short=short,
            with_starts=_remembers(model), device=device,
        )  # fmt: skip

    def prepare(self, model: nn.Module, data: TextData) -> None:
        """A stage that remembers the training split is given it."""
        if _remembers(model):
            cast(Any, model).remember(data.ids("train"))

    def examples(self, model: nn.Module, corpus: TextCorpus) -> list[str]:  # noqa: ARG002
        """None: a sample long enough to judge is written at the end of the run."""
        return []

    def sample(self, model: nn.Module, corpus: TextCorpus, seed: int) -> str:  # noqa: ARG002
        """500 characters."""
        return sample_text(model, self.tokenizer, seed=seed)

    def respond(self, model: nn.Module, prompt: str | None, config: GenerateConfig) -> Iterator[str]:
        """The prompt and its continuation, character by character; several samples one after the other."""
        if config.num_samples * config.tokens > _MOST_TOKENS:
            raise RequestError(f"num_samples * tokens has to be at most {_MOST_TOKENS:,}: use several commands")
        steps = generate(
            packed(model, getattr(torch, config.dtype)), self._prompt(prompt),
            tokens=config.tokens, num_samples=config.num_samples,
            temperature=config.temperature, top_k=config.top_k, top_p=config.top_p, seed=config.seed,
        )  # fmt: skip
        if config.num_samples == 1:
            yield prompt or ""
            yield from (self.tokenizer.decode(step) for step in steps)
            yield "\n"
            return
        samples = zip(*(step.tolist() for step in steps), strict=True)  # one batch, so all finish together
        for number, sample in enumerate(samples, start=1):
            print(f"sample {number} of {config.num_samples}", file=sys.stderr, flush=True)
            yield f"{prompt or ''}{self.tokenizer.decode(sample)}\n\n"

    def output(self, model: nn.Module, prompt: str | None, **options: Any) -> str:
        """A continuation; `options` are those of `generate`, by default tokens=500 and seed=1337."""
        steps = generate(model, self._prompt(prompt), **({"tokens": 500, "seed": 1337} | options))
        return self.tokenizer.decode(int(step[0]) for step in steps)

    def batches(self, model: nn.Module, text: str, target: str | None, *, tokens_per_pass: int) -> Iterable[Batch]:
        """Adjacent windows of the model's block_size. Raises RequestError for less than two known characters."""
        if target is not None:
            raise RequestError("this run continues a text: there is no translation to give")
        ids = self.encoded(text).to(next(model.parameters()).device)
        if len(ids) < 2:
            raise RequestError("a text needs at least two characters that the run knows")
        return adjacent_windows(ids, block_size_of(model), tokens_per_pass)

    def scores(self, model: nn.Module, corpus: TextCorpus, split: str, config: EvaluateConfig) -> list[Measure]:
        """None: the loss is the only measure."""
        del model, corpus, split, config
        return []

    def _prompt(self, prompt: str | None) -> Tensor:
        if prompt == "":
            raise RequestError("the prompt is empty: give at least one character, or no prompt")
        return self.tokenizer.encode(default_prompt(self.tokenizer) if prompt is None else prompt)

    def _known(self, *texts: str) -> list[str]:
        known, unknown = zip(*map(self.tokenizer.without_unknown, texts), strict=True)
        if any(unknown):
            left_out = sum(map(len, texts)) - sum(map(len, known))
            which = "".join(sorted(set("".join(unknown))))
            log.warning(f"left out {left_out:,} characters that the vocabulary lacks: {which[:40]!r}")
        return list(known)


def _remembers(model: nn.Module) -> bool:
    return getattr(model, "remember", None) is not None
