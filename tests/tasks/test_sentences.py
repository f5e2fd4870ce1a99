"""One bad line of an input costs that line, and one unknown character costs that character."""

import pytest

from gpt.data.pairs import Subwords
from gpt.tasks.translation import readable


def test_a_line_is_read_without_what_cannot_be_read_of_it_and_a_warning_names_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = ["\ufeffabc\n", "\udcff\udcfea", "áabc á def日", "é", "\ufeffabc", "a b " * 50, " def.\r\n"]
    lines = (line.encode(errors="surrogateescape") for line in given)
    tokenizer = Subwords.trained_on(["abc def.", "def abc, abc!"] * 20, 100)
    assert list(readable(lines, tokenizer, block_size=10)) == ["abc", "", "abc def", "", "abc", "", "def."]
    assert caplog.messages == [
        "line 2 is not UTF-8: its translation is left empty",
        "line 3: the characters 'á' (U+00E1) and '日' (U+65E5) are not in the vocabulary: left out",
        "line 4: the character 'é' (U+00E9) is not in the vocabulary: left out",
        r"line 5: the character '\ufeff' (U+FEFF) is not in the vocabulary: left out",  # a mark in the first line only
        "line 6 has 201 subwords, the model takes 10: its translation is left empty",
    ]
