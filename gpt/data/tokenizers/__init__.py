"""The tokenizers of texts, one class per module; `data.tokenizer=` and tokenizer.json use the module's name."""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Literal

from gpt.base.errors import UserError, printable
from gpt.data.corpus import Text
from gpt.data.tokenizer import TextTokenizer
from gpt.data.vocabulary import Vocabulary

NAMES = tuple(module.name for module in pkgutil.iter_modules(__path__))
if TYPE_CHECKING:
    TokenKind = str
else:
    TokenKind = Literal[NAMES]


def named(kind: str) -> type[TextTokenizer]:
    """The tokenizer of this name, one of NAMES."""
    module = importlib.import_module(f"{__name__}.{kind}")
    own = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__]
    (found,) = [x for x in own if issubclass(x, TextTokenizer)]
    return found


def built_for(corpus: Text) -> TextTokenizer:
    """The tokenizer that a corpus asks for. Raises RequestError without its library, or if the text is not UTF-8."""
    return named(corpus.tokens.kind).built_for(corpus)


def restored(vocabulary: Vocabulary) -> TextTokenizer:
    """The tokenizer of a run. Raises UserError if the vocabulary is of no text, RequestError without its library."""
    if vocabulary.kind not in NAMES:
        raise UserError(
            f"the vocabulary of this run is damaged: for a text, it must be of {', '.join(NAMES)}, "
            f"not of {printable(vocabulary.kind)}"
        )
    try:
        return named(vocabulary.kind).restored(vocabulary)
    except ValueError as error:
        raise UserError(f"the vocabulary of this run is damaged: {error}") from None
