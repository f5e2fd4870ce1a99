"""Byte-level tokenizers, which can encode every text.

A text is the sequence of its UTF-8 bytes. Byte-pair encoding merges bytes that often follow each other ("Language
Models are Unsupervised Multitask Learners", Radford et al., 2019, section 2.2). The library `tokenizers` trains and
applies it. Like GPT-2, it writes each byte as a printable character, and so does tokenizer.json.
"""

import codecs
import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gpt.base.errors import require_extra
from gpt.data.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that are printable characters in Latin-1
_OTHERS = [byte for byte in range(256) if byte not in _VISIBLE]
CHARACTERS = {byte: chr(byte) for byte in _VISIBLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
BYTES = {character: byte for byte, character in CHARACTERS.items()}
_CONTINUING = bytes(range(0x80, 0xC0))  # all bytes of a character in UTF-8 but its first one
_LATIN_1 = str.maketrans({character: chr(byte) for character, byte in BYTES.items()})


class ByteLevel(TextTokenizer):
    """Tokens that are strings of bytes, among them each single byte."""

    is_complete = True
    vocabulary: list[str]

    def __init__(self, vocabulary: list[str]) -> None:
        """Raises ValueError if this is not the vocabulary of such a tokenizer."""
        if not (set(BYTES) <= set(vocabulary) and set("".join(vocabulary)) <= set(BYTES) and all(vocabulary)):
            raise ValueError("it lacks bytes or has others")
        self.vocabulary = vocabulary
        self._bytes = [token.translate(_LATIN_1).encode("latin-1") for token in vocabulary]

    @functools.cached_property
    def shown(self) -> list[str]:
        """Each token as text; bytes that are not a whole character as <0xE2>."""
        return [_format_unfinished(token) for token in self._bytes]

    @functools.cached_property
    def sizes(self) -> Tensor:
        """The characters that begin in each token, and its bytes: (V, 2) int64."""
        return torch.tensor([(len(token.translate(None, _CONTINUING)), len(token)) for token in self._bytes])

    def without_unknown(self, text: str) -> tuple[str, str]:
        """All of it."""
        return text, ""

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of each id as it comes; the first bytes of a character wait for the last ones."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            yield decoder.decode(self._bytes[int(i)])
        yield decoder.decode(b"", final=True)


def imported_library() -> Any:
    """The library. Raises RequestError if it is not installed."""
    with require_extra("subwords"):
        import tokenizers
    return tokenizers


def library_tokenizer(vocabulary: list[str], merges: list[tuple[str, str]]) -> "Tokenizer":
    """The library's byte-pair encoding, with GPT-2's way to split a text; without a vocabulary, it can be trained.

    Raises ValueError if the merges do not fit the vocabulary.
    """
    library = imported_library()
    ids = {token: i for i, token in enumerate(vocabulary)}
    try:
        tokenizer = library.Tokenizer(library.models.BPE(vocab=ids, merges=merges))
    except Exception as error:  # the library raises no narrower type
        raise ValueError(f"its merges do not fit: {error}") from None
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def format_token(token: bytes) -> str:
    """A token as tokenizer.json has it."""
    return "".join(CHARACTERS[byte] for byte in token)


def _format_unfinished(token: bytes) -> str:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in token)
