"""Translating sentences."""

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from gpt.base.errors import RequestError, UserError, require_extra
from gpt.config.command_schemas import BeamConfig, EvaluateConfig, GenerateConfig
from gpt.data.batch import Data, Targets
from gpt.data.corpus import PairCorpus
from gpt.data.records import lines_of
from gpt.data.tokenizers.characters import lacking
from gpt.data.vocabulary import SPECIAL, Vocabulary
from gpt.models import Stage
from gpt.tasks.task import Measure, Task, checked_options

if TYPE_CHECKING:
    from gpt.data.pairs import Subwords

_CHINESE = re.compile("[\u3400-\u9fff]")
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")  # Thai to Khmer; Japanese
_MANY = 0.2  # share of the characters

log = logging.getLogger(__name__)

_TOKENS = "sentence_subwords"  # the kind of vocabulary


class Translation(Task):
    """Translating sentences."""

    purpose = "translates"
    token = "subword"
    splits = ("test", "val", "train")
    has_windows = False
    has_source = True
    decode_errors = "surrogateescape"  # loses only the lines that are not UTF-8
    pipeline_tag = "translation"
    example = '"Ein Mann."'

    def __init__(self, tokenizer: "Subwords") -> None:
        self.tokenizer = tokenizer
        self.vocab_size = len(tokenizer)

    @classmethod
    def options(cls) -> set[str]:
        """The options of beam search."""
        return {*BeamConfig.model_fields}

    @classmethod
    def check_installed(cls) -> None:
        """Raises RequestError if the library of the tokenizer is not installed."""
        _subwords()

    @classmethod
    def built_for(cls, corpus: PairCorpus) -> "Translation":
        """The subwords of the training pairs, of both languages together."""
        lines = (line for pair in corpus.train for line in pair)
        return cls(_subwords().trained_on(lines, corpus.vocab_size))

    @classmethod
    def restored(cls, vocabulary: Vocabulary) -> "Translation":
        """The task with the subwords of a run. Raises UserError if the vocabulary is not one of subwords."""
        tokens = list(vocabulary.vocabulary)
        if vocabulary.kind != _TOKENS or tokens[: len(SPECIAL)] != SPECIAL:
            raise UserError("the vocabulary of this run is damaged: for sentence pairs, it must be subwords")
        return cls(_subwords()(tokens, vocabulary.merges or []))

    def vocabulary(self, corpus: PairCorpus) -> Vocabulary:
        """The subwords and how they are merged."""
        vocabulary, merges = self.tokenizer.vocabulary, self.tokenizer.merges
        return Vocabulary(kind=_TOKENS, vocabulary=vocabulary, merges=merges, corpus=corpus.digest)

    def as_json(self) -> str:
        """A tokenizer of subwords."""
        return self.tokenizer.as_json()

    def described(self, corpus: PairCorpus) -> str:
        """Sentence pairs."""
        train, val, test = len(corpus.train), len(corpus.val), len(corpus.test)
        sizes = f"{train:,} to train on, {val:,} to validate on, {test:,} to test on"
        return f"pairs: {sizes}; a vocabulary of {self.vocab_size:,} subwords"

    def data(self, corpus: PairCorpus, model: Stage, device: torch.device) -> Data:
        """Padded batches of pairs of similar lengths."""
        from gpt.data.pairs import PairData

        return PairData(corpus, self.tokenizer, block_size=model.block_size, device=device)

    def examples(self, model: Stage, corpus: PairCorpus) -> list[str]:
        """The first validation sentences, their references, and the model's translations."""
        pairs, was_training = corpus.val[:3], model.training
        outputs = self.translate(model, [source for source, _ in pairs], BeamConfig(beam=1, length_penalty=0.0))
        model.train(was_training)
        return [
            f"  {name} {line}"
            for (source, target), output in zip(pairs, outputs, strict=True)
            for name, line in (("source", source), ("target", target), ("output", output))
        ]

    def sample(self, model: Stage, corpus: PairCorpus, seed: int) -> str:  # noqa: ARG002
        """The lines of `examples`."""
        return "\n".join(self.examples(model, corpus)) + "\n"

    def respond(self, model: Stage, prompt: str | None, config: GenerateConfig) -> Iterator[list[str]]:
        """Yield a translation for each line of the prompt, or of standard input if there is no prompt."""
        if prompt is not None:
            lines = [line.encode(errors="surrogateescape") for line in lines_of(prompt)]
            sentences = list(readable(lines, self.tokenizer, model.block_size))
            if not any(sentences):
                raise RequestError("the prompt is empty: give at least one word that the model can read")
            yield from ([line] for line in self.translate(model, sentences, config))
            return
        if sys.stdin.isatty():
            print("enter one sentence per line; press Ctrl-D to end", file=sys.stderr)
        for sentence in readable(sys.stdin.buffer, self.tokenizer, model.block_size):
            yield self.translate(model, [sentence], config)

    def outputs(self, model: Stage, prompt: str | None, num_samples: int, **options: Any) -> list[str]:
        """The translation of a sentence, `num_samples` times; `options` are fields of BeamConfig."""
        config = checked_options(BeamConfig, prompt, num_samples, options)
        return self.translate(model, [prompt or ""], config) * num_samples

    def batches(
        self, model: Stage, text: str, target: str | None, *, tokens_per_pass: int, most: int | None = None
    ) -> Targets:
        """The one pair. Raises RequestError without a target."""
        if target is None:
            raise RequestError("this run translates: give a sentence and its translation")
        pairs = [(text, target)]
        data = self.data(PairCorpus(pairs, pairs, pairs, vocab_size=0), model, next(model.parameters()).device)
        return data.every_target_once("val", tokens_per_pass, most)

    def scores(self, model: Stage, corpus: PairCorpus, split: str, config: EvaluateConfig) -> list[Measure]:
        """BLEU, chrF and the share of exact translations, with their signatures."""
        pairs = getattr(corpus, split)
        if split == "train":  # The model never saw pairs that are too long for it.
            lengths = (map(len, self.tokenizer.encode_all(list(side))) for side in zip(*pairs, strict=True))
            longest = map(max, *lengths)
            pairs = [pair for pair, n in zip(pairs, longest, strict=True) if n < model.block_size]
        outputs = self.translate(model, [source for source, _ in pairs], config)
        return scores(outputs, [target for _, target in pairs])

    def translate(self, model: Stage, sentences: list[str], config: BeamConfig) -> list[str]:
        """Translate sentences by beam search."""
        from gpt.tasks.decoding.beam_search import translate

        known = [self.tokenizer.known_part(sentence)[0] for sentence in sentences]
        return translate(model, self.tokenizer, known, beam=config.beam, length_penalty=config.length_penalty)


def _subwords() -> "type[Subwords]":
    """The subword tokenizer. Raises RequestError if its library, which only translation needs, is not installed."""
    with require_extra("translate"):
        from gpt.data.pairs import Subwords
    return Subwords


def readable(lines: Iterable[bytes], tokenizer: "Subwords", block_size: int) -> Iterator[str]:
    """Yield a sentence for each input line, without the characters that the vocabulary lacks, with a warning.

    A line that is not UTF-8 or has too many subwords for the model becomes an empty sentence.
    """
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            log.warning(f"line {number} is not UTF-8: its translation is left empty")
            yield ""
            continue
        sentence, unknown = tokenizer.known_part(text.strip())
        if unknown:
            log.warning(f"line {number}: {lacking(unknown)}: left out")
        subwords = len(tokenizer.encode_all([sentence])[0]) + 1  # and END
        if subwords > block_size:
            log.warning(
                f"line {number} has {subwords:,} subwords, the model takes {block_size}: its translation is left empty"
            )
            sentence = ""
        yield sentence


def _tokenization(references: list[str]) -> str | None:
    """How sacrebleu finds words for BLEU, which compares runs of four; None, with a warning, if it cannot."""
    text = "".join(references)
    if len(_WITHOUT_SPACES.findall(text)) > _MANY * len(text):
        log.warning("no BLEU: this language has no spaces between words; see chrF")
        return None
    if len(_CHINESE.findall(text)) > _MANY * len(text):
        return "zh"
    if max(len(reference.split()) for reference in references) < 4:
        log.warning("no BLEU: it needs sentences of four words or more; see chrF")
        return None
    return "13a"


def scores(outputs: list[str], references: list[str]) -> list[Measure]:
    """BLEU, BLEU in lower case, chrF and the share of exact translations, all in percent, computed by sacrebleu.

    Sources: "A Call for Clarity in Reporting BLEU Scores" (Post, 2018); "chrF" (Popovic, 2015).
    """
    with require_extra("translate"):
        from sacrebleu.metrics import BLEU, CHRF

    metrics: dict[str, Any] = {}
    if words := _tokenization(references):
        metrics = {"BLEU": BLEU(tokenize=words), "BLEU, lower case": BLEU(lowercase=True, tokenize=words)}
    result = []
    for name, metric in (metrics | {"chrF": CHRF()}).items():
        value = metric.corpus_score(outputs, [references]).score
        result.append(Measure(name, round(value, 2), str(metric.get_signature())))
    # Subwords do not keep spaces at both ends.
    right = sum(a.strip() == b.strip() for a, b in zip(outputs, references, strict=True)) / len(references)
    return [*result, Measure("exact matches", round(100 * right, 2), "% of sentences")]
