"""Sentence pairs: their subwords, with one vocabulary for both languages, and batches of similar lengths.

Subwords are learned by byte-pair encoding: "Neural Machine Translation of Rare Words with Subword Units" (Sennrich et
al., 2016), section 3.2. The library `tokenizers` trains and applies it.
"""

import itertools
import json
import logging
import sys
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, Batch, Targets
from gpt.data.corpus import PairCorpus, Pairs
from gpt.data.vocabulary import LONG, PAD, SPECIAL, parts_of

BEGIN, END, UNKNOWN = range(PAD + 1, PAD + 4)

log = logging.getLogger(__name__)


class Subwords:
    """Token i is entry i of the vocabulary; PAD, BEGIN, END and UNKNOWN come first."""

    def __init__(self, vocabulary: list[str], merges: list[tuple[str, str]]) -> None:
        self.vocabulary, self.merges = vocabulary, merges
        self._characters = {" ", *"".join(vocabulary[len(SPECIAL) :])}
        ids = {token: i for i, token in enumerate(vocabulary)}
        try:
            self._tokenizer = _pipeline(models.BPE(vocab=ids, merges=merges, unk_token=SPECIAL[UNKNOWN]))
        except Exception as error:  # the library raises no narrower type
            raise RequestError(f"not a vocabulary of subwords: {error}") from None

    @classmethod
    def trained_on(cls, lines: Iterable[str], vocab_size: int) -> "Subwords":
        """Learn up to `vocab_size` subwords from some text."""
        tokenizer = _pipeline(models.BPE(unk_token=SPECIAL[UNKNOWN]))
        lines = list(lines)
        takes_long = sum(map(len, lines)) > LONG and sys.stderr.isatty()  # elsewhere the library prints empty lines
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=takes_long)
        tokenizer.train_from_iterator(lines, trainer)
        vocabulary, merges = parts_of(json.loads(tokenizer.to_str()))
        return cls(vocabulary, merges or [])

    def __len__(self) -> int:
        return len(self.vocabulary)

    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`."""
        return self._tokenizer.to_str()

    def encode_all(self, lines: list[str]) -> list[list[int]]:
        """Lines -> token ids of each, without BEGIN and END."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(lines, add_special_tokens=False)]

    def known_part(self, line: str) -> tuple[str, str]:
        """The line without characters that occur in no training sentence, and those characters.

        Other white space, such as a tab, becomes a space: it must not join two words. A word that is left out entirely
        does not leave a double space.
        """
        line = "".join(" " if c.isspace() and c not in self._characters else c for c in line)
        unknown = "".join(c for c in line if c not in self._characters)
        known = "".join(c for c in line if c in self._characters)
        return " ".join(filter(None, known.split(" "))) if unknown else line, unknown

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids up to END, if present -> text."""
        kept = [int(i) for i in itertools.takewhile(lambda i: i != END, ids) if i not in (PAD, BEGIN)]
        return self._tokenizer.decode(kept, skip_special_tokens=False)


def _pipeline(model: models.BPE) -> Tokenizer:
    """Words carry a mark for the space before them, so that decoding restores the text; punctuation is split off."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


class PairData:
    """Encoded pairs in batches limited by their number of tokens; rows of similar lengths, padded with PAD.

    A source is its subwords and END. A target's inputs start with BEGIN, and its targets end with END.
    """

    estimated_over = "random training pairs, and the entire validation split"
    lengths_vary = True
    sizes = None

    def __init__(self, corpus: PairCorpus, tokenizer: Subwords, *, block_size: int, device: torch.device | str) -> None:
        self.tokenizer, self.block_size, self._device = tokenizer, block_size, device
        self._pairs = {name: self._encode(getattr(corpus, name), name) for name in ("train", "val", "test")}
        self.epoch_tokens = self.tokens("train")
        self._counts: dict[tuple[int, int, int], int] = {}  # of an epoch's batches
        self._latest: tuple[tuple[int, int, int] | None, list[list[int]]] = None, []  # as indices of pairs

    def _encode(self, pairs: Pairs, name: str) -> list[tuple[list[int], list[int]]]:
        sources = self.tokenizer.encode_all([source for source, _ in pairs])
        targets = self.tokenizer.encode_all([target for _, target in pairs])
        unknown = sum(ids.count(UNKNOWN) for ids in (*sources, *targets))
        if unknown:
            log.warning(f"{unknown:,} characters of the {name} split are in no training pair; they count as unknown")
        encoded = [([*s, END], [BEGIN, *t, END]) for s, t in zip(sources, targets, strict=True)]
        longest = max((max(len(s), len(t) - 1) for s, t in encoded), default=0)
        if name == "train":
            encoded = [(s, t) for s, t in encoded if len(s) <= self.block_size and len(t) <= self.block_size + 1]
        elif longest > self.block_size:
            raise RequestError(f"the {name} split has a sentence of {longest} subwords: raise model.block_size")
        if not encoded:
            raise RequestError(f"no pair of the {name} split has at most model.block_size={self.block_size} subwords")
        return encoded

    def tokens(self, split: str) -> int:
        """The number of targets in a split."""
        return sum(len(target) - 1 for _, target in self._pairs[split])

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: up to `batch_size` targets, including padding."""
        epoch = 0
        while iteration >= (count := self._count(seed, epoch, batch_size)):
            iteration -= count
            epoch += 1
        return self._batch("train", self._plan(seed, epoch, batch_size)[iteration])

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """The whole validation split, or as many randomly drawn training pairs."""
        del eval_iters, batch_size  # only for texts: their splits are too long to evaluate in full each time
        rows = list(range(len(self._pairs[split])))
        if split == "train":
            order = torch.randperm(len(rows), generator=generator(seed, "evaluation", iteration))
            rows = order[: len(self._pairs["val"])].tolist()
        return self._targets(split, rows, tokens_per_pass)

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> None:
        """None: sentences are not windows."""

    def every_target_once(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """The split, or as many of its pairs as have about `most` targets, in batches of up to `tokens_per_pass`."""
        pairs = len(self._pairs[split])
        chosen = pairs if most is None else min(pairs, max(1, pairs * most // self.tokens(split)))
        rows = [i * pairs // chosen for i in range(chosen)]
        return self._targets(split, rows, tokens_per_pass)

    def _targets(self, split: str, rows: list[int], tokens_per_pass: int) -> Targets:
        batches = [self._batch(split, part) for part in self._cut(split, rows, tokens_per_pass)]
        return Targets(batches, sum(batch.tokens for batch in batches), self.tokens(split))

    def _count(self, seed: int, epoch: int, batch_size: int) -> int:
        key = (seed, epoch, batch_size)
        if key not in self._counts:
            self._counts[key] = len(self._plan(*key))
        return self._counts[key]

    def _plan(self, seed: int, epoch: int, batch_size: int) -> list[list[int]]:
        """The batches of an epoch, each as row indices: a pure function of the seed and the epoch."""
        key = (seed, epoch, batch_size)
        if self._latest[0] != key:
            draw = generator(seed, "epoch", epoch)
            noise = torch.rand(len(self._pairs["train"]), 2, generator=draw).tolist()
            batches = self._cut("train", range(len(noise)), batch_size, noise)
            order = torch.randperm(len(batches), generator=draw).tolist()
            self._latest = key, [batches[i] for i in order]
        return self._latest[1]

    def _cut(
        self, split: str, rows: Iterable[int], batch_size: int, noise: list[list[float]] | None = None
    ) -> list[list[int]]:
        """The rows in batches of similar lengths; `noise`, from 0 to 1, varies which rows are batched together."""
        pairs = self._pairs[split]

        def lengths(row: int) -> tuple[float, float]:
            source, target = pairs[row]
            a, b = noise[row] if noise else (0.0, 0.0)
            return int(len(target) + 2 * a), len(source) + 2 * b

        batches: list[list[int]] = [[]]
        longest = 0
        for row in sorted(rows, key=lengths):
            longest = max(longest, len(pairs[row][1]) - 1)
            if batches[-1] and longest * (len(batches[-1]) + 1) > batch_size:
                batches.append([])
                longest = len(pairs[row][1]) - 1
            batches[-1].append(row)
        return batches

    def _batch(self, split: str, rows: list[int]) -> Batch:
        chosen = [self._pairs[split][row] for row in rows]
        source = _padded([source for source, _ in chosen], PAD)
        target = _padded([target[:-1] for _, target in chosen], PAD)
        answer = _padded([target[1:] for _, target in chosen], IGNORED)
        count = sum(len(target) - 1 for _, target in chosen)
        source, target, answer = (x.to(self._device, non_blocking=True) for x in (source, target, answer))
        return Batch((source, target), answer, count)


def _padded(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])
