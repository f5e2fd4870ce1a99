"""Sentences to subwords and back: byte-pair encoding with one vocabulary for both languages.

Source: "Neural Machine Translation of Rare Words with Subword Units" (Sennrich et al., 2016), section 3.2;
trained and applied by the library `tokenizers`.
"""

import json
import sys
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gpt.base.errors import RequestError
from gpt.data.vocabulary import LONG, LONGEST_WORD, PAD, SPECIAL, parts_of

BEGIN, END, UNKNOWN = range(PAD + 1, PAD + 4)


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
        tokenizer.train_from_iterator(_cut(lines), trainer)
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

        Other white space, such as a tab, becomes a space, because two words would otherwise be joined. A word that is
        left out entirely does not leave a double space.
        """
        line = "".join(" " if c.isspace() and c not in self._characters else c for c in line)
        unknown = "".join(c for c in line if c not in self._characters)
        if not unknown:
            return line, ""
        known = "".join(c for c in line if c in self._characters)
        return " ".join(filter(None, known.split(" "))), unknown

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids up to END, if present -> text."""
        kept = []
        for i in ids:
            if i == END:
                break
            if i not in (PAD, BEGIN):
                kept.append(int(i))
        return self._tokenizer.decode(kept, skip_special_tokens=False)


def _cut(lines: Iterable[str]) -> Iterator[str]:
    """The lines; one with a word that is too long in parts, because the time is quadratic in the length of a word."""
    for line in lines:
        is_short = len(line) <= LONGEST_WORD or max(map(len, line.split(" "))) <= LONGEST_WORD
        yield from [line] if is_short else (line[i : i + LONGEST_WORD] for i in range(0, len(line), LONGEST_WORD))


def _pipeline(model: models.BPE) -> Tokenizer:
    """Words carry a mark for the space before them, so that decoding restores the text; punctuation is split off."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer
