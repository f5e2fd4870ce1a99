"""Values as they are typed: the type of a key decides what they are."""

from typing import Annotated, Any, Literal

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gpt.config.choices import Count, NonNegative, PathName, PathNames
from gpt.config.schema import Duration, Label
from gpt.config.values import Escapes, in_quotes, listed, read, unescaped, unquoted

_Escaped = Annotated[str, Escapes()]


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


READ = [
    (Count, {"3": 3, "1e3": 1000, "2.5e1": 25, "1e-3": 1e-3, "1.0": 1.0, "many": "many", "null": None, "true": True}),
    (NonNegative | None, {"3": 3, "1E-2": 0.01, "null": None, "0.5": 0.5, "1,2": "1,2", "[1]": [1]}),
    (bool, {"true": True, "False": False, "yes": "yes", "1": 1}),
    (Label | None, {"1e-3": "1e-3", "true": "true", "007": "007", "'null'": "null", "null": None, "[a]": "[a]"}),
    (float | Duration | None, {"60": 60, "5min": "5min", "1.5": 1.5}),
    (Literal["auto"] | Count, {"auto": "auto", "7000": 7000}),
    (PathName, {"a, b": "a, b", "[a,b]": "[a,b]", '"a b"': "a b", "${x}": "${x}"}),
    (PathNames, {"a,b": "a,b", "[a,'b, c']": ["a", "b, c"], "'[a,b]'": "[a,b]"}),
    (list[Label], {"a,b": ["a", "b"], "[a, b]": ["a", "b"], "[]": [], "1": ["1"]}),
    (Any, {"[0.9,1e3]": [0.9, 1000], "a": "a", "1": 1}),
    (_Escaped | None, {r"\n": "\n", r"'a\tb'": "a\tb", "5": "5", "null": None}),
    (_Escaped | list[_Escaped] | None, {r"[\n\n,null,1e3]": ["\n\n", "null", "1e3"], "[": "[", "a,b": "a,b"}),
]


@pytest.mark.parametrize(("kind", "values"), READ, ids=range(len(READ)))
def test_the_type_of_a_key_decides_what_a_value_is(kind: Any, values: dict[str, Any]) -> None:
    for typed, value in values.items():
        found = read(typed, kind)
        assert (found, type(found)) == (value, type(value)), typed
