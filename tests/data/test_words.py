"""Words: frequent ones are tokens, all others are spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data import tokenizers
from gpt.data.corpus import TextCorpus, Tokens
from gpt.data.tokenizers.words import Words


def test_frequent_words_are_tokens_and_the_characters_of_all_splits_are() -> None:
    corpus = TextCorpus("the cat, the dog, the cow\n" * 9 + "a cat", "the zebras é", tokens=Tokens("words", 256))
    found = tokenizers.built_for(corpus)
    assert found.vocabulary == [*"\n ,acdeghotw", " the", " cat", "the", " dog", " cow", *"brszé"]
    ids = found.encode("the cats, the zebra")
    assert [found.vocabulary[i] for i in ids] == ["the", *" cats,", " the", *" zebra"]
    assert found.sizes[ids].sum(dim=0).tolist() == [19, 19]
    few = tokenizers.built_for(TextCorpus(corpus.train, corpus.val, tokens=Tokens("words", 14)))
    assert few.vocabulary == [*"\n ,acdeghotw", " the", " cat", *"brszé"]
    with pytest.raises(RequestError, match=r"'§' .*is not in the vocabulary"):
        found.encode("the §")
    larger = found.grown("§")
    assert larger.decode(larger.encode("the §")) == "the §"


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_is_decoded_to_what_it_was(text: str) -> None:
    found = Words.trained_on([f"{text} {text}", "what others say"], 300)
    assert found.decode(found.encode(text)) == text
    assert found.encode_utf8(text.encode()).tolist() == found.encode(text).tolist()
