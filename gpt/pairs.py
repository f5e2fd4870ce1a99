"""Sentence pairs: where they come from, and how they become batches of about equally long sequences."""

import gzip
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gpt.config import Multi30kConfig, PairConfig, ParallelConfig
from gpt.corpus import fetch, lines_of, read_text
from gpt.data import IGNORED, Batch
from gpt.errors import RequestError, UserError
from gpt.files import sha256
from gpt.models.transformer import PAD
from gpt.seeding import generator
from gpt.subwords import BEGIN, END, Subwords
from gpt.translation import GREEDY, translate

Pairs = list[tuple[str, str]]  # source and target

_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
_MULTI30K_FILES = {
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
}


@dataclass(frozen=True)
class Corpus:
    """Pairs to train on, to choose by, and to report on."""

    train: Pairs
    val: Pairs
    test: Pairs

    def text(self) -> str:
        """All of it as one text, which tells one corpus from another."""
        return "\n".join(f"{source}\t{target}" for part in (self.train, self.val, self.test) for source, target in part)


def multi30k(folder: Path) -> Corpus:
    """German and English captions from `folder`: 29,000 / 1,014 / 1,000 pairs ("Multi30K", Elliott et al., 2016).

    Downloaded to there if they are not there yet. Raises UserError if that fails or if a file is another one.
    """
    parts = []
    for part in ("train", "val", "test_2016_flickr"):
        lines = []
        for language in ("de", "en"):
            name = f"{part}.{language}.gz"
            path = folder / "multi30k" / name
            if not path.exists():
                fetch(_MULTI30K + name, path, _MULTI30K_FILES[name])
            if sha256(path) != _MULTI30K_FILES[name]:
                raise UserError(f"{path} is not the file of multi30k (its sha256 differs): remove it")
            lines.append(lines_of(gzip.decompress(path.read_bytes()).decode()))
        parts.append(list(zip(*lines, strict=True)))
    return Corpus(*parts)


def parallel(source: Path, target: Path, *, held_out: float) -> Corpus:
    """Anybody's pairs: line i of one file is translated by line i of the other.

    The last `held_out` of them, half and half, are kept for validation and for the test. Raises RequestError where the
    files do not go together.
    """
    sources, targets = (lines_of(read_text(path)) for path in (source, target))
    if len(sources) != len(targets):
        raise RequestError(
            f"{source} has {len(sources):,} lines and {target} has {len(targets):,}: they need the same number"
        )
    for path, lines in ((source, sources), (target, targets)):
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                raise RequestError(f"line {number} of {path} is empty: leave that pair out of both files")
    pairs = list(zip(sources, targets, strict=True))
    held = int(held_out * len(pairs)) // 2
    if held == 0:
        raise RequestError(f"{source} has {len(pairs):,} lines: too few to hold {held_out:g} of them out, twice")
    return Corpus(pairs[: -2 * held], pairs[-2 * held : -held], pairs[-held:])


def made_up(task: str, *, length: int, size: int) -> Corpus:
    """`size` random sequences of up to `length` letters, to be copied or reversed; a tenth of them is held out."""
    draw = random.Random(f"{task} {length} {size}")
    pairs = []
    for _ in range(size):
        letters = draw.choices("abcdefghijklmnop", k=draw.randint(2, length))
        answer = letters if task == "copy" else letters[::-1]
        pairs.append((" ".join(letters), " ".join(answer)))
    held = size // 20
    return Corpus(pairs[: -2 * held], pairs[-2 * held : -held], pairs[-held:])


def load_pairs(source: PairConfig) -> Corpus:
    """The corpus that a configuration names."""
    if isinstance(source, Multi30kConfig):
        return multi30k(Path(source.dir))
    if isinstance(source, ParallelConfig):
        return parallel(Path(source.source), Path(source.target), held_out=source.held_out)
    return made_up(source.name, length=source.length, size=source.size)


class PairData:
    """Encoded pairs, served in batches by number of tokens: rows of about the same length, filled up with PAD.

    A source is its subwords and END. A target is read from BEGIN on, and answered up to END.
    """

    def __init__(self, corpus: Corpus, tokenizer: Subwords, *, block_size: int, device: torch.device | str) -> None:
        self.corpus, self.tokenizer, self.block_size, self._device = corpus, tokenizer, block_size, device
        self._pairs = {name: self._encode(getattr(corpus, name), name) for name in ("train", "val", "test")}
        self._plans: dict[tuple[int, int, int], list[list[int]]] = {}  # an epoch's batches, as indices of pairs

    def _encode(self, pairs: Pairs, name: str) -> list[tuple[list[int], list[int]]]:
        sources = self.tokenizer.encode_all([source for source, _ in pairs])
        targets = self.tokenizer.encode_all([target for _, target in pairs])
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
        """Batch `iteration` of a run: up to `batch_size` targets, padding counted."""
        epoch, index = self._place(seed, iteration, batch_size)
        return self._batch("train", self._plan(seed, epoch, batch_size)[index])

    def epoch(self, seed: int, iteration: int, batch_size: int) -> int:
        """How often the training pairs were gone through before an iteration."""
        return self._place(seed, iteration, batch_size)[0]

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> list[Batch]:
        """What a loss is estimated on: all of the validation split, or as many training pairs, drawn anew each time."""
        del eval_iters, batch_size  # of texts, whose splits are too long to be gone through each time
        rows = list(range(len(self._pairs[split])))
        if split == "train":
            order = torch.randperm(len(rows), generator=generator(seed, "evaluation", iteration))
            rows = order[: len(self._pairs["val"])].tolist()
        return [self._batch(split, part) for part in self._cut(split, rows, tokens_per_pass)]

    def every_target_once(self, split: str, tokens_per_pass: int) -> list[Batch]:
        """The split in batches of up to that many targets."""
        rows = range(len(self._pairs[split]))
        return [self._batch(split, part) for part in self._cut(split, rows, tokens_per_pass)]

    def examples(self, model: nn.Module) -> list[str]:
        """The first validation sentences, what they should become, and what the model makes of them."""
        pairs, was_training = self.corpus.val[:3], model.training
        found = translate(model, self.tokenizer, [source for source, _ in pairs], GREEDY)
        model.train(was_training)
        return [
            f"  source {source}\n  target {target}\n  found  {guess}"
            for (source, target), guess in zip(pairs, found, strict=True)
        ]

    def sample(self, model: nn.Module, seed: int) -> str:
        """The same lines as `examples`."""
        del seed  # nothing is drawn
        return "\n".join(self.examples(model)) + "\n"

    def _place(self, seed: int, iteration: int, batch_size: int) -> tuple[int, int]:
        epoch = 0
        while iteration >= len(self._plan(seed, epoch, batch_size)):
            iteration -= len(self._plan(seed, epoch, batch_size))
            epoch += 1
        return epoch, iteration

    def _plan(self, seed: int, epoch: int, batch_size: int) -> list[list[int]]:
        """An epoch's batches, the rows of each by index: a pure function of the seed and the epoch."""
        key = (seed, epoch, batch_size)
        if key not in self._plans:
            draw = generator(seed, "epoch", epoch)
            noise = torch.rand(len(self._pairs["train"]), 2, generator=draw).tolist()
            batches = self._cut("train", range(len(noise)), batch_size, noise)
            order = torch.randperm(len(batches), generator=draw).tolist()
            self._plans[key] = [batches[i] for i in order]
        return self._plans[key]

    def _cut(
        self, split: str, rows: Iterable[int], batch_size: int, noise: list[list[float]] | None = None
    ) -> list[list[int]]:
        """The rows in batches of about the same lengths; `noise`, in tokens, varies who goes with whom."""
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


def _padded(rows: list[list[int]], filling: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filling] * (longest - len(row)) for row in rows])
