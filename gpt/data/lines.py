"""Lines that are examples, each a window of its own: made up to test memory, questions with answers, and documents.

In most lines, only the answer at the end is a target. Lines that test memory each have their own letters, so
memorising the training split does not help: the model must keep what it has read until the line asks for it.
"""

import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase, digits
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.config.choices import PathNames
from gpt.data.batch import IGNORED, Batch, Targets
from gpt.data.corpus import SubwordCount, TextCorpus, Tokens
from gpt.data.paths import files_of
from gpt.data.records import Encoding, read_lines, read_texts
from gpt.data.splits import Separator, TrainFraction, split_parts, with_copies
from gpt.data.tables import check_size, without_others
from gpt.data.tokenizer import TextTokenizer
from gpt.data.tokenizers import TokenKind

_MOST_CHARACTERS = 10**7
_PAUSE, _END = ".", "\n"
_BETWEEN = ("\n", "\n\n", "\f", "\0")  # separators of documents

Examples = Annotated[int, Field(ge=100, le=200_000)]
Distance = Annotated[int, Field(ge=0, le=10_000)]


@dataclass(frozen=True)
class Lines(TextCorpus):
    """Lines whose targets are the last `answer` characters or, with a separator, what follows it, line end included."""

    answers_only = True

    answer: int = 1
    separator: str | None = None

    def parts(self) -> Iterable[str]:
        """Its splits, and which part of a line is the target."""
        return [*super().parts(), f"answers of {self.answer} after {self.separator!r}"]

    def examples(self, split: str, tokenizer: TextTokenizer, block_size: int) -> Iterator[tuple[list[int], int]]:
        """The token ids of each line of a split, and the place of its first target.

        Question and answer are encoded separately, because a prompt is a question alone. Raises RequestError if a line
        has more tokens than fit into a window, or a character that the vocabulary lacks.
        """
        longest = 0
        for line in getattr(self, split).removesuffix(_END).split(_END):
            if self.separator is None:
                question, answer = line[: -self.answer], line[-self.answer :]
            else:
                end = line.index(self.separator) + len(self.separator)
                question, answer = line[:end], line[end:] + _END
            asked, answered = (tokenizer.encode(part).tolist() for part in (question, answer))
            longest = max(longest, len(asked) + len(answered) - 1)
            yield asked + answered, len(asked)
        if longest > block_size:
            raise RequestError(f"a line has {longest} {tokenizer.unit}s before its last: raise model.block_size")

    def as_data(
        self, tokenizer: TextTokenizer, *, block_size: int, device: torch.device, with_starts: bool = False
    ) -> "LineData":
        """Each line as a window. Raises RequestError for a stage that remembers a text."""
        if with_starts:
            raise RequestError("a stage that counts n-grams is for one text, not for documents or lines: use model=v8")
        return LineData(self, tokenizer, block_size=block_size, device=device)


@dataclass(frozen=True)
class Documents(Lines):
    """Windows that begin with a document or within it, and end with it.

    A separator before and after each document makes its first token and its end targets. Each token is a target
    once: a document that is longer than a window is cut into adjacent windows.
    """

    answers_only = False

    separator: str = "\n"

    @classmethod
    def of(cls, texts: list[str], separator: str, train_fraction: float, tokens: Tokens) -> "Documents":
        r"""Texts with the separator between two of them or, if a text contains a newline, \n\n, \f or \0.

        Raises RequestError for texts that contain all of these, or too few of them to divide.
        """
        for between in _BETWEEN if separator == _END else (separator,):
            if all((text + between).split(between) == [text, ""] for text in texts):  # also where two texts meet
                return _documents(texts, between, train_fraction, tokens)
        raise RequestError("there are texts that contain the separator: give another data.separator=")

    @cached_property
    def characters(self) -> str:
        """The characters of both splits and of the separator, which two documents alone do not contain."""
        return "".join(sorted({*super().characters, *self.separator}))

    def examples(self, split: str, tokenizer: TextTokenizer, block_size: int) -> Iterator[tuple[list[int], int]]:
        """The token ids of the windows of a split, each with the place of its first target."""
        unknown = str.maketrans("", "", tokenizer.without_unknown(self.characters)[1])
        separator = tokenizer.encode(self.separator.translate(unknown)).tolist()
        for document in getattr(self, split).split(self.separator):
            ids = separator + tokenizer.encode(document.translate(unknown)).tolist() + separator
            for start in range(0, len(ids) - 1, block_size):
                window, first = ids[start : start + block_size + 1], max(1, len(separator) - start)
                if first < len(window):
                    yield window, first


def questions(
    path: PathNames,
    separator: Annotated[Separator, Field(min_length=1)],
    train_fraction: TrainFraction,
    encoding: Encoding = "utf-8",
    tokenizer: TokenKind = "characters",
    vocab_size: SubwordCount = Tokens.vocab_size,
) -> Lines:
    """Lines of files, each a question, a separator and its answer; a random part of them is for validation.

    Raises RequestError for a line without the separator.
    """
    found: dict[str, None] = {}  # each once
    for place, line in (line for file in files_of(path) for line in read_lines(file, encoding) if line[1].strip()):
        if separator not in line:
            raise RequestError(f"{place} has no {separator!r} between question and answer: {line[:40]!r}")
        found[line + _END] = None
    splits = split_parts(list(found), train_fraction)
    return Lines(*splits, tokens=Tokens(tokenizer, vocab_size), separator=separator)


def documents(
    path: PathNames,
    separator: Annotated[Separator, Field(min_length=1)],
    train_fraction: TrainFraction,
    encoding: Encoding = "utf-8",
    tokenizer: TokenKind = "characters",
    vocab_size: SubwordCount = Tokens.vocab_size,
) -> Documents:
    """The documents of files, with a separator between two of them; a random part of them is for validation.

    Raises RequestError for more than 256 MB, or if a split would be empty.
    """
    files = without_others(files_of(path), encoding)
    check_size(files)
    texts = (text.replace("\r\n", "\n") for text in read_texts(files, encoding))
    found = [document for text in texts for document in text.split(separator)]
    return _documents(found, separator, train_fraction, Tokens(tokenizer, vocab_size))


def _documents(texts: Iterable[str], separator: str, train_fraction: float, tokens: Tokens) -> Documents:
    """The texts that are not empty, as documents. Raises RequestError if a split would be empty."""
    found = with_copies((text for text in texts if text.strip()), separator)
    return Documents(*split_parts(found, train_fraction, separator), tokens=tokens, separator=separator)


def recall(pairs: Annotated[int, Field(ge=1, le=26)], distance: Distance, size: Examples) -> Lines:
    """Associative recall: letters, each followed by its digit, a pause, and one of the letters again, then its digit.

    As in "Using Fast Weights to Attend to the Recent Past" (Ba et al., 2016), section 4.1. Two pairs at a distance of
    three: "k3p0...k3". Raises RequestError for more than ten million characters.
    """

    def line(draw: random.Random) -> str:
        letters, numbers = draw.sample(ascii_lowercase, pairs), draw.choices(digits, k=pairs)
        asked = draw.randrange(pairs)
        told = "".join(letter + number for letter, number in zip(letters, numbers, strict=True))
        return told + _PAUSE * distance + letters[asked] + numbers[asked]

    return _lines(f"recall {pairs} {distance} {size}", line, size, answer=1)


def repeat(length: Annotated[int, Field(ge=1, le=1000)], distance: Distance, size: Examples) -> Lines:
    """Copying: `length` letters, a pause, a colon, and the letters again.

    As in "Long Short-Term Memory" (Hochreiter and Schmidhuber, 1997) and "Unitary Evolution Recurrent Neural Networks"
    (Arjovsky et al., 2016), section 5.1. Raises RequestError for more than ten million characters.
    """

    def line(draw: random.Random) -> str:
        letters = "".join(draw.choices(ascii_lowercase[:8], k=length))
        return f"{letters}{_PAUSE * distance}:{letters}"

    return _lines(f"repeat {length} {distance} {size}", line, size, answer=length)


def _lines(seed: str, line: Callable[[random.Random], str], size: int, answer: int) -> Lines:
    """`size` random lines, of which the last tenth is for validation."""
    length = len(line(random.Random(seed)))
    if length * size > _MOST_CHARACTERS:
        raise RequestError(f"{size:,} lines of {length:,} are more than {_MOST_CHARACTERS:,}: make data.size smaller")
    draw = random.Random(seed)
    lines = [line(draw) + _END for _ in range(size)]
    return Lines("".join(lines[: -(size // 10)]), "".join(lines[-(size // 10) :]), answer=answer)


class LineData:
    """Random lines for training, all of them for the exact loss. Each is a window of its own.

    Lines are stored without padding. Every batch is as wide as the longest line of both splits.
    """

    estimated_over = "random lines"
    lengths_vary = False

    def __init__(self, corpus: Lines, tokenizer: TextTokenizer, *, block_size: int, device: torch.device | str) -> None:
        """Raises RequestError if a line does not fit into a window, or has a character that the vocabulary lacks."""
        self.sizes, self._ids, self._lines, self._counts = tokenizer.sizes, {}, {}, {}
        longest = 0
        for split in ("train", "val"):
            ids, lines = array("i"), array("q")
            for line, first in corpus.examples(split, tokenizer, block_size):
                lines.extend((len(ids), len(line), first))
                ids.extend(line)
            begins = torch.frombuffer(lines, dtype=torch.int64).view(-1, 3)  # (N, 3): start, length, first target
            self._ids[split] = torch.frombuffer(ids, dtype=torch.int32).to(device)  # of all lines
            self._lines[split], self._counts[split] = begins.to(device), begins[:, 1] - begins[:, 2]
            longest = max(longest, int(begins[:, 1].max()))
        self._places = torch.arange(longest, device=device)
        self.epoch_tokens = int(self._counts["train"].sum())

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self._drawn("train", batch_size, generator(seed, "train", iteration))

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """`eval_iters` random batches."""
        del tokens_per_pass
        draw = generator(seed, "evaluation", split, iteration)
        batches = [self._drawn(split, batch_size, draw) for _ in range(eval_iters)]
        return Targets(iter(batches), sum(batch.tokens for batch in batches), int(self._counts[split].sum()))

    def every_target_once(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """Each line once, or evenly spread lines with about `most` targets."""
        counts = self._counts[split]
        lines, targets = len(counts), int(counts.sum())
        count = lines if most is None or targets <= most else max(1, lines * most // targets)
        rows = torch.arange(count) * lines // count
        batches = (self._batch(split, some) for some in rows.split(max(1, tokens_per_pass // len(self._places))))
        return Targets(batches, int(counts[rows].sum()), targets)

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> None:
        """None: a line is a window of its own."""

    def _drawn(self, split: str, batch_size: int, draw: torch.Generator) -> Batch:
        return self._batch(split, torch.randint(len(self._lines[split]), (batch_size,), generator=draw))

    def _batch(self, split: str, rows: Tensor) -> Batch:
        """These lines, with their answers as targets: (rows, longest - 1)."""
        start, length, first = self._lines[split][rows.to(self._places.device)].T[..., None]  # (rows, 1) each
        is_token = self._places < length  # (rows, longest)
        lines = self._ids[split][(start + self._places).where(is_token, 0)].long().where(is_token, 0)
        targets = lines.where(is_token & (self._places >= first), IGNORED)
        return Batch((lines[:, :-1],), targets[:, 1:], int(self._counts[split][rows].sum()))
