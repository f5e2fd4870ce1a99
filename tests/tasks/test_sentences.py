"""One bad line of an input costs that line, and one unknown character costs that character."""

import pytest

from gpt.data.subwords import Subwords
from gpt.tasks.translation import readable


@pytest.fixture(scope="module")
def tokenizer() -> Subwords:
    return Subwords.trained_on(["abc def.", "def abc, abc!"] * 20, 100)


def sentences(tokenizer: Subwords, *lines: bytes) -> list[str]:
    return list(readable(lines, tokenizer, block_size=10))


def test_lines_that_can_be_read_are_stripped_and_told_nothing_of(
    tokenizer: Subwords, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentences(tokenizer, b"\xef\xbb\xbfabc\n", b" def.\r\n", b"\n", b"abc") == ["abc", "def.", "", "abc"]
    assert caplog.messages == []


def test_a_line_that_is_not_utf_8_is_empty_and_named_by_its_number(
    tokenizer: Subwords, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentences(tokenizer, b"abc\n", b"\xff\xfea\n", b"abc \xe4\n", b"def\n") == ["abc", "", "", "def"]
    assert caplog.messages == [f"line {n} is not UTF-8: its translation is left empty" for n in (2, 3)]


def test_unknown_characters_are_left_out_and_named_once_per_line(
    tokenizer: Subwords, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["abc", "áabc á def日", "abc", "é", "\ufeffabc"]  # a byte order mark, in the first line only
    assert sentences(tokenizer, *(line.encode() for line in lines)) == ["abc", "abc def", "abc", "", "abc"]
    assert caplog.messages == [
        "line 2: the characters 'á' (U+00E1) and '日' (U+65E5) are not in the vocabulary: left out",
        "line 4: the character 'é' (U+00E9) is not in the vocabulary: left out",
        r"line 5: the character '\ufeff' (U+FEFF) is not in the vocabulary: left out",
    ]


def test_a_line_that_is_too_long_for_the_model_is_empty_and_named_by_its_number(
    tokenizer: Subwords, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentences(tokenizer, b"abc\n", b"a b " * 50, b"def\n") == ["abc", "", "def"]
    (message,) = caplog.messages
    assert message.startswith("line 2 has ")
    assert message.endswith(" subwords, the model takes 10: its translation is left empty")


def test_a_line_is_read_only_once_it_is_asked_for(tokenizer: Subwords) -> None:
    lines = iter([b"abc\n", b"def\n"])
    assert next(readable(lines, tokenizer, block_size=10)) == "abc"
    assert next(lines) == b"def\n"
