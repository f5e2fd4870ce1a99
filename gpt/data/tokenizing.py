"""Which tokenizer a text has: of a corpus, and of a run."""

from gpt.base.errors import UserError
from gpt.data.byte_level import BytePairs, ByteTokenizer
from gpt.data.characters import CharTokenizer
from gpt.data.corpus import Text
from gpt.data.tokenizer import TextTokenizer
from gpt.data.vocabulary import Vocabulary


def tokenizer_for(corpus: Text) -> TextTokenizer:
    """The tokenizer that a corpus asks for.

    Raises RequestError if its library is not installed, or if the text is not UTF-8, except for bytes.
    """
    wanted = corpus.tokens
    if wanted.kind == "bytes":
        return ByteTokenizer()
    characters = corpus.characters
    if wanted.kind == "characters":
        return CharTokenizer(characters)
    return BytePairs.gpt2() if wanted.kind == "gpt2" else corpus.subwords(wanted.vocab_size)


def tokenizer_of(vocabulary: Vocabulary) -> TextTokenizer:
    """The tokenizer of a run that continues a text.

    Raises UserError if the vocabulary is not one of a text, RequestError if its library is not installed.
    """
    if isinstance(vocabulary.vocabulary, str):
        return CharTokenizer(vocabulary.vocabulary)
    if (tokenizer := ByteTokenizer()).vocabulary == vocabulary.vocabulary:
        return tokenizer
    try:
        return BytePairs(vocabulary.vocabulary, vocabulary.merges or [])
    except ValueError as error:
        raise UserError(
            f"the vocabulary of this run is damaged: for a text, it must be characters, bytes or subwords, and {error}"
        ) from None
