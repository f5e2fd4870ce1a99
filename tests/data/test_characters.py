"""Characters to token ids and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.data.characters import CharTokenizer
from gpt.errors import RequestError


@given(st.text(min_size=1))
def test_decoding_restores_the_encoded_text(text: str) -> None:
    tokenizer = CharTokenizer(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == torch.int64
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids.tolist()) == text
    assert len(tokenizer) == len(set(text))
    assert ids.unique().tolist() == list(range(len(tokenizer)))  # every id is used


@given(st.text(min_size=1))
def test_vocabulary_alone_restores_the_tokenizer(text: str) -> None:
    tokenizer = CharTokenizer(text)
    assert torch.equal(CharTokenizer(tokenizer.vocabulary).encode(text), tokenizer.encode(text))


def test_an_unknown_character_is_named() -> None:
    with pytest.raises(RequestError, match=r"'é' \(U\+00E9\) is not in the vocabulary"):
        CharTokenizer("abc").encode("abé")
