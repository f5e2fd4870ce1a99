"""Bytes and byte-level subwords: tokenizers that can encode every text.

A text is a sequence of the bytes of its UTF-8. Byte-pair encoding merges those that often follow each other: "Language
Models are Unsupervised Multitask Learners" (Radford et al., 2019), section 2.2; trained and applied by the library
`tokenizers`. tokenizer.json and that library write each byte as a printable character, as GPT-2 does.
"""

import codecs
import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gpt.base.errors import UnavailableError, requiring
from gpt.data.sources import CONTINUING
from gpt.data.tokenizer import TextTokenizer
from gpt.data.vocabulary import parts_of

if TYPE_CHECKING:
    import tiktoken
    from tokenizers import Tokenizer

_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that are printable characters in Latin-1
_OTHERS = [byte for byte in range(256) if byte not in _VISIBLE]
_CHARACTER = {byte: chr(byte) for byte in _VISIBLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
_BYTE = {character: byte for byte, character in _CHARACTER.items()}
_LATIN_1 = str.maketrans({character: chr(byte) for character, byte in _BYTE.items()})
_NO_BYTE = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # unpaired surrogates that `surrogateescape` does not make


class ByteLevel(TextTokenizer):
    """Tokens that are strings of bytes, among them each single byte."""

    is_complete = True
    vocabulary: list[str]

    def __init__(self, vocabulary: list[str]) -> None:
        """Raises ValueError if this is not the vocabulary of such a tokenizer."""
        if not (set(_BYTE) <= set(vocabulary) and set("".join(vocabulary)) <= set(_BYTE) and all(vocabulary)):
            raise ValueError("it lacks bytes or has others")
        self.vocabulary = vocabulary
        self._bytes = [token.translate(_LATIN_1).encode("latin-1") for token in vocabulary]

    @functools.cached_property
    def shown(self) -> list[str]:
        """Each token as text; bytes that are not a whole character as <0xE2>."""
        return [_shown(token) for token in self._bytes]

    @functools.cached_property
    def sizes(self) -> Tensor:
        """The characters that begin in each token, and its bytes: (V, 2) int64."""
        return torch.tensor([(len(token.translate(None, CONTINUING)), len(token)) for token in self._bytes])

    def without_unknown(self, text: str) -> tuple[str, str]:
        """All of it."""
        return text, ""

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of each id as it comes; the first bytes of a character wait for the last ones."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            yield decoder.decode(self._bytes[int(i)])
        yield decoder.decode(b"", final=True)


class ByteTokenizer(ByteLevel):
    """Token i is byte i."""

    unit = "byte"

    def __init__(self) -> None:
        super().__init__([_CHARACTER[byte] for byte in range(256)])
        self.merges = []

    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64: its bytes in UTF-8. Bytes that were read with `surrogateescape` stay what they are.

        Other unpaired surrogates, which UTF-8 cannot express, become question marks.
        """
        whole = _NO_BYTE.sub("?", text).encode(errors="surrogateescape")
        return torch.from_numpy(self.encode_utf8(whole).astype(np.int64))

    def encode_utf8(self, piece: bytes) -> np.ndarray:
        """The bytes themselves."""
        return np.frombuffer(piece, np.uint8)

    def as_json(self) -> str:
        """Subwords without merges."""
        return _library(self.vocabulary, self.merges or []).to_str()


class BytePairs(ByteLevel):
    """Token i is entry i of the vocabulary, which the merges build from single bytes."""

    unit = "subword"
    joins_characters = True

    def __init__(self, vocabulary: list[str], merges: list[tuple[str, str]]) -> None:
        """Raises ValueError if they do not fit each other, RequestError if the library is not installed."""
        super().__init__(vocabulary)
        self.merges, self._tokenizer = merges, _library(vocabulary, merges)

    @classmethod
    def trained_on(cls, texts: Iterable[str], vocab_size: int, *, show_progress: bool = False) -> "BytePairs":
        """Learn up to `vocab_size` subwords, of at least 256. Raises RequestError if the library is not installed."""
        tokenizer, library = _empty(), _imported()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=sorted(_BYTE), show_progress=show_progress, special_tokens=[]
        )
        tokenizer.train_from_iterator(texts, trainer)
        vocabulary, merges = parts_of(json.loads(tokenizer.to_str()))
        return cls(vocabulary, merges or [])

    @classmethod
    def gpt2(cls) -> "BytePairs":
        """GPT-2's 50,257 subwords, from tiktoken, which downloads them the first time.

        Raises RequestError if it is not installed, UnavailableError if it cannot download them.
        """
        with requiring("subwords"):
            import tiktoken
        try:
            return cls.of_tiktoken(tiktoken.get_encoding("gpt2"))
        except OSError:
            raise UnavailableError(
                "tiktoken cannot download GPT-2's vocabulary: try again with a network, or set TIKTOKEN_CACHE_DIR to a "
                "folder where it has been downloaded"
            ) from None

    @classmethod
    def of_tiktoken(cls, encoding: "tiktoken.Encoding") -> "BytePairs":
        """The tokenizer that gives the same ids as one of tiktoken, if its pattern is GPT-2's."""
        tokens = [encoding.decode_single_token_bytes(i) for i in range(encoding.n_vocab)]
        special = {encoding.encode_single_token(token) for token in encoding.special_tokens_set}
        ranks = {token: i for i, token in enumerate(tokens) if i not in special}
        merged = (_parts(token, ranks) for token in ranks if len(token) > 1)
        merges = [(_written(first), _written(second)) for first, second in merged]
        return cls([_written(token) for token in tokens], merges)

    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64 token ids."""
        whole = text.encode(errors="replace").decode()  # without unpaired surrogates
        return torch.tensor(self._tokenizer.encode(whole).ids, dtype=torch.int64)

    def encode_utf8(self, piece: bytes) -> np.ndarray:
        """A text in UTF-8 -> token ids, (N,)."""
        return np.array(self._tokenizer.encode(piece.decode()).ids, dtype=np.uint32)

    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`."""
        return self._tokenizer.to_str()


def _imported() -> Any:
    """The library. Raises RequestError if it is not installed."""
    with requiring("subwords"):
        import tokenizers
    return tokenizers


def _empty() -> "Tokenizer":
    library = _imported()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _library(vocabulary: list[str], merges: list[tuple[str, str]]) -> "Tokenizer":
    tokenizer, library = _empty(), _imported()
    ids = {token: i for i, token in enumerate(vocabulary)}
    try:
        tokenizer.model = library.models.BPE(vocab=ids, merges=merges)
    except Exception as error:  # the library raises no narrower type
        raise ValueError(f"its merges do not fit: {error}") from None
    return tokenizer


def _written(token: bytes) -> str:
    return "".join(_CHARACTER[byte] for byte in token)


def _shown(token: bytes) -> str:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in token)


def _parts(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that a token is merged from: what byte-pair encoding makes of it without that last merge."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(first + second, len(ranks)) for first, second in itertools.pairwise(parts)]
        lowest = pairs.index(min(pairs))
        parts[lowest : lowest + 2] = [parts[lowest] + parts[lowest + 1]]
    first, second = parts
    return first, second
