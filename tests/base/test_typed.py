"""Values as they are typed: quotes, lists and whole numbers."""

import pytest

from gpt.base.typed import listed, unquoted, whole


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ('"To be, or"', "To be, or"), ("'a b'", "a b"), ('"it\'s"', "it's"), ("'tis", "'tis"), ('"', '"'), ("''", ""),
        ("'tis the king's'", "'tis the king's'"), ('"a" and "b"', '"a" and "b"'), ("'a\nb'", "a\nb"), ("a", "a"),
    ],
)  # fmt: skip
def test_quotes_around_a_whole_value_are_no_part_of_it(typed: str, meant: str) -> None:
    assert unquoted(typed) == meant


@pytest.mark.parametrize(
    "typed", ["[a,b c]", "a,b c", "[a, b c]", '["a",\'b c\']', "a, b c,", "[ a , 'b c' ]"]
)  # fmt: skip
def test_a_list_has_brackets_and_quotes_or_none(typed: str) -> None:
    assert listed(typed) == ["a", "b c"]


def test_an_item_in_quotes_may_have_a_comma() -> None:
    assert listed('["a, b",c]') == ["a, b", "c"]
    assert listed("[]") == []
    assert listed("a") == ["a"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("1e3", "1000"), ("2.5e1", "25"), ("1E+2", "100"), ("-1e0", "-1"), ("1e-3", "1e-3"), ("1e400", "1e400"),
     ("1e20", "1e20"), ("5", "5"), ("e3", "e3"), ("0x1e3", "0x1e3")],
)  # fmt: skip
def test_a_number_with_an_exponent_may_be_whole(typed: str, meant: str) -> None:
    assert whole(typed) == meant
