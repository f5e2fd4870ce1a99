"""Subwords: sentences to token ids and back."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.pairs import BEGIN, END, UNKNOWN, Subwords
from gpt.data.vocabulary import PAD


@given(st.lists(st.text(st.characters(categories=["L", "P", "N"]), min_size=1), min_size=1))
def test_subwords_restore_the_text(words: list[str]) -> None:
    line = " ".join(words).replace("▁", "_")  # the mark that stands for a space
    tokenizer = Subwords.trained_on([line], 100)
    again = Subwords(tokenizer.vocabulary, tokenizer.merges)
    (ids,) = tokenizer.encode_all([line])
    assert len(tokenizer) <= max(100, 5 + len(set(line)))
    assert tokenizer.decode([BEGIN, *ids, END, *ids, PAD]) == line
    assert again.encode_all([line]) == [ids]


def test_what_is_known_of_a_line_has_no_unknown_token() -> None:
    tokenizer = Subwords.trained_on(["abc def.", "def abc, abc!"] * 20, 100)
    assert tokenizer.known_part("abc, fed.") == ("abc, fed.", "")
    known, unknown = tokenizer.known_part("abc 日de本f日")
    assert (known, unknown) == ("abc def", "日本日")
    assert tokenizer.known_part("日 abc 日 def 日") == ("abc def", "日日日")
    assert tokenizer.known_part("abc  def ") == ("abc  def ", "")
    assert UNKNOWN not in tokenizer.encode_all([known])[0]
    assert UNKNOWN in tokenizer.encode_all(["日本"])[0]
    # White space of another kind still separates words:
    assert tokenizer.known_part("abc\tdef\N{NO-BREAK SPACE}abc") == ("abc def abc", "")


def test_subwords_of_one_long_word_are_learned_in_linear_time_and_those_of_long_lines_as_ever() -> None:
    begun = time.process_time()
    Subwords.trained_on(["".join(random.Random(1).choices("ACGT", k=100_000))], 1000)
    assert time.process_time() - begun < 2
    words = ["low", "lower", "lowest", "newer", "wider"]
    one_line, lines = Subwords.trained_on([" ".join(words * 300)], 60), Subwords.trained_on([" ".join(words)] * 300, 60)
    assert one_line.vocabulary == lines.vocabulary


@pytest.mark.parametrize(
    ("vocabulary", "merges"), [(["<pad>", "<s>", "</s>", "<unk>", "a"], [("a", "b")]), (["a", "b"], [("a", "")])]
)
def test_a_vocabulary_that_does_not_hold_together_is_refused(vocabulary: list[str], merges: list) -> None:
    with pytest.raises(RequestError, match="not a vocabulary of subwords"):
        Subwords(vocabulary, merges)
