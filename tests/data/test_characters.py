"""Characters to token ids and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError, UserError
from gpt.data import tokenizers
from gpt.data.tokenizers.characters import CharTokenizer, lacking
from gpt.data.vocabulary import Vocabulary


@given(st.text(min_size=1))
def test_decoding_restores_the_encoded_text(text: str) -> None:
    tokenizer = CharTokenizer(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == torch.int64
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids.tolist()) == text
    assert len(tokenizer) == len(set(text))
    assert ids.unique().tolist() == list(range(len(tokenizer)))  # every id is used


def test_a_vocabulary_that_is_not_in_order_is_damaged() -> None:
    """The model's rows would belong to other characters."""
    for vocabulary in ("ba", ["ab", "c"]):
        with pytest.raises(
            UserError, match=r"^the vocabulary of this run is damaged: its characters are not in order$"
        ):
            tokenizers.restored(Vocabulary(kind="characters", vocabulary=vocabulary, corpus=""))


def test_every_unknown_character_is_named_once_and_the_first_ten_of_very_many() -> None:
    with pytest.raises(RequestError) as error:
        CharTokenizer("abc").encode("aüébüü")
    assert str(error.value) == (
        "the characters 'ü' (U+00FC) and 'é' (U+00E9) are not in the vocabulary, which is 'abc'"
    )
    with pytest.raises(RequestError, match=r"which is 'abc[^']+' and 9,803 more$") as error:
        CharTokenizer("abc" + "".join(map(chr, range(0x4E00, 0x7510)))).encode("d")
    assert len(str(error.value)) < 300
    assert lacking("é") == "the character 'é' (U+00E9) is not in the vocabulary"
    assert lacking("abcdefghijklm").startswith("the characters 'a' (U+0061), 'b' (U+0062), ")
    assert lacking("abcdefghijklm").endswith("'j' (U+006A) and 3 more are not in the vocabulary")
