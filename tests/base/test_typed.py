"""Values as they are typed: quotes, lists and whole numbers."""

import pytest
from gpt.base.typed import in_quotes, listed, unescaped, unquoted, whole
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


def test_quotes_around_a_whole_value_are_no_part_of_it() -> None:
    whole_values, others = ('"To be, or"', '"it\'s"', "''"), ("'tis", '"a" and "b"')
    assert [*map(unquoted, whole_values)] == ["To be, or", "it's", ""]
    assert tuple(map(unquoted, others)) == others


@pytest.mark.parametrize(
    "text", ['it\'s "x"', '"a\' b"', "'a\" b'", "\\'\\\\\"\\", "${x}'\"\\${y}", "'it\\'s \"x\"'", "a'\n\"b"]
)
def test_a_text_with_both_quotes_is_quoted_as_hydra_does(text: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([f"key={in_quotes(text)}"])
    assert OmegaConf.create({"key": parsed.value()}).key == unquoted(in_quotes(text)) == text
    assert listed(f"[a, {in_quotes(text)},b]") == ["a", text, "b"]


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
