"""From a configuration to its corpus, ready to be served."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from gpt.config import TRANSLATOR, ShakespeareConfig, TextConfig, TrainConfig
from gpt.corpus import read_text, tiny_shakespeare
from gpt.data import TextData
from gpt.errors import RequestError
from gpt.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from gpt.pairs import PairData
    from gpt.subwords import Subwords

AnyData: TypeAlias = "TextData | PairData"


def load(
    config: TrainConfig, device: torch.device, tokenizer: "CharTokenizer | Subwords | None" = None
) -> tuple[AnyData, str]:
    """A text or sentence pairs, and the same as one string, which tells it from any other.

    Without a `tokenizer`, it is made from the corpus. Raises RequestError where the stage is not for such a corpus.
    """
    source, block_size = config.data, config.model.block_size
    if isinstance(source, (ShakespeareConfig, TextConfig)):
        if config.stage == TRANSLATOR:
            raise RequestError("model=transformer translates: choose data=multi30k, parallel, copy or reverse")
        if isinstance(source, ShakespeareConfig):
            text = tiny_shakespeare(Path(source.dir))
        else:
            text = read_text(Path(source.path))
        return TextData(text, block_size=block_size, train_fraction=source.train_fraction, device=device), text

    if config.stage != TRANSLATOR:
        raise RequestError(f"data={source.name} is for model=transformer; {config.stage} continues a text")
    try:
        from gpt.pairs import PairData, load_pairs  # needs a library that texts can do without
        from gpt.subwords import Subwords
    except ModuleNotFoundError as error:
        raise RequestError(f"{error.name} is not installed: pip install -e '.[translate]'") from None
    corpus = load_pairs(source)
    if not isinstance(tokenizer, Subwords):
        tokenizer = Subwords.trained_on((line for pair in corpus.train for line in pair), source.vocab_size)
    return PairData(corpus, tokenizer, block_size=block_size, device=device), corpus.text()
