"""Values as they are typed: quotes, lists and whole numbers."""

from gpt.base.typed import listed, unescaped, unquoted, whole


def test_quotes_around_a_whole_value_are_no_part_of_it() -> None:
    whole_values, others = ('"To be, or"', '"it\'s"', "''"), ("'tis", '"a" and "b"')
    assert [*map(unquoted, whole_values)] == ["To be, or", "it's", ""]
    assert tuple(map(unquoted, others)) == others


def test_four_escapes_are_characters_and_every_other_backslash_is_itself() -> None:
    assert unescaped(r"\n\t\r\\n\d C:\Users\\") == "\n\t\r\\n\\d C:\\Users\\"
    assert unescaped("\\") == "\\"


def test_a_list_has_brackets_and_quotes_or_none() -> None:
    for typed in ("a,b c", "[a, b c]", "[\"a\",'b c']", "a, b c,"):
        assert listed(typed) == ["a", "b c"]
    assert listed('["a, b",c]') == ["a, b", "c"]
    assert listed("[]") == []


def test_a_number_with_an_exponent_may_be_whole() -> None:
    others = ["1e-3", "1e400", "1e20"]
    assert [*map(whole, ["1e3", "2.5e1", "-1E+0", *others])] == ["1000", "25", "-1", *others]
