"""Values as they are typed: quotes, lists and whole numbers."""

import pytest

from gpt.base.typed import listed, unescaped, unquoted, whole


@pytest.mark.parametrize(
    ("typed", "meant"),
    [('"To be, or"', "To be, or"), ('"it\'s"', "it's"), ("'tis", "'tis"), ("''", ""), ('"a" and "b"', '"a" and "b"')],
)
def test_quotes_around_a_whole_value_are_no_part_of_it(typed: str, meant: str) -> None:
    assert unquoted(typed) == meant


def test_four_escapes_are_characters_and_every_other_backslash_is_itself() -> None:
    assert unescaped(r"\n\t\r\\n\d C:\Users\\") == "\n\t\r\\n\\d C:\\Users\\"
    assert unescaped("\\") == "\\"


def test_a_list_has_brackets_and_quotes_or_none() -> None:
    for typed in ("a,b c", "[a, b c]", "[\"a\",'b c']", "a, b c,"):
        assert listed(typed) == ["a", "b c"]
    assert listed('["a, b",c]') == ["a, b", "c"]
    assert listed("[]") == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("1e3", "1000"), ("2.5e1", "25"), ("-1E+0", "-1"), ("1e-3", "1e-3"), ("1e400", "1e400"), ("1e20", "1e20")],
)
def test_a_number_with_an_exponent_may_be_whole(typed: str, meant: str) -> None:
    assert whole(typed) == meant
