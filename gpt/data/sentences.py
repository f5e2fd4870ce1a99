"""Input lines as sentences to translate: an unreadable line does not affect the others."""

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gpt.data.tokenizers.characters import lacking

if TYPE_CHECKING:
    from gpt.data.subwords import Subwords

log = logging.getLogger(__name__)


def readable(lines: Iterable[bytes], tokenizer: "Subwords", block_size: int) -> Iterator[str]:
    """Yield a sentence for each line, without the characters that the vocabulary lacks.

    A line that is not UTF-8 or has too many subwords for the model becomes an empty sentence. A warning says what was
    left out of a line.
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
