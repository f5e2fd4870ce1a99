"""Tables lose no text: each is read back exactly, and what would lose some is refused with its file and line."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.corpora import text
from gpt.data.lines import table
from gpt.data.tables import texts_of
from gpt.tasks.continuation import Continuation

CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\"',;\t\r\n\u2028 ")
PLAIN = st.text("ab 1\"'", min_size=1, max_size=5).filter(lambda cell: not cell.startswith('"'))


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[str]) -> list[list[str]]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6))


@given(rows=tables(st.text(CHARACTERS, max_size=6)))
def test_any_table_that_csv_writes_is_read_back_exactly(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("table") / "a.csv"
    for names in ([], [f"name {place}" for place in range(len(rows[0]))]):
        with file.open("w", encoding="utf-8-sig", newline="") as opened:
            csv.writer(opened).writerows([names, *rows] if names else rows)
        for place, column in enumerate(zip(*rows, strict=True)):
            found = texts_of(file, names[place] if names else str(place + 1), "utf-8")
            assert list(found) == [cell for cell in column if cell.strip()]


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".tsv", "\t"), (".TAB", "\t")])
@given(rows=tables(PLAIN), place=st.integers(1, 6), count=st.integers(1, 5), end=st.sampled_from(["\n", "\r\n"]))
def test_a_row_with_more_or_fewer_cells_is_refused(
    suffix: str,
    between: str,
    rows: list[list[str]],
    place: int,
    count: int,
    end: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("table") / f"a{suffix}"
    rows = [*rows[:place], ["a"] * count, *rows[place:]]
    file.write_bytes(end.join(map(between.join, rows)).encode())
    if count == len(rows[0]):
        assert len(list(texts_of(file, "1", "utf-8"))) <= len(rows)
        return
    line = min(place + 1, len(rows))
    cells = "1 cell" if count == 1 else f"{count} cells"
    message = f"line {line} of {file} has {cells}, but the first row has {len(rows[0])}"
    with pytest.raises(RequestError) as error:
        list(texts_of(file, "1", "utf-8"))
    assert str(error.value).partition(": ")[0] == message
    assert (": " in str(error.value)) == (count > len(rows[0]))


READ = {
    "a quotation mark in a TSV": (".tsv", 'text\n"Stop, he said\nGo\n"on"\n', "text", ['"Stop, he said', "Go", '"on"']),
    "a number in the first row": (".csv", "a,1\nb,2\n", "1", ["a", "b"]),
    "a name that is a number": (".csv", "2020,2021\na,b\n", "2021", ["b"]),
    "a row of one NUL": (".csv", "text\na\n\0\nb\n", "text", ["a", "\0", "b"]),
}


@pytest.mark.parametrize(("suffix", "content", "field", "texts"), READ.values(), ids=list(READ))
def test_what_once_lost_rows_is_read(suffix: str, content: str, field: str, texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_text(content)
    assert list(texts_of(file, field, "utf-8")) == texts


REFUSED = {
    ".csv": [
        ("id,text\n1,a\n2,b, c\n", "line 3 of FILE has 3 cells, but the first row has 2: put quotes around a"),
        ('id,text\n"1\n",a\n2\n', "line 4 of FILE has 1 cell, but the first row has 2"),
        ("text,text\na,b\n", "line 1 of FILE names 2 columns text: rename all but one"),
        ('id,text\n1,"a" b\n', "line 2 of FILE has a cell that is wrongly quoted"),
        ('id,text\n1,a\n2,"b\n3,c\n', "line 3 of FILE has a quotation mark without a second one"),
        ("1,2\n", "FILE has no column text; its first row is 1, 2"),
    ],
    ".tsv": [("text\na\n\nb\tc\n", "line 4 of FILE has 2 cells, but the first row has 1: a text cannot contain a tab")],
    ".jsonl": [
        ('{"text": "a"}\n{"text": "b", "text": "c"}\n', "line 2 of FILE is not JSON: it has the key text twice"),
        ('{"text": ["a", "b"]}\n', 'line 1 of FILE: its text is not a text but ["a", "b"]'),
        ('{"text": "\\ud800"}\n', "line 1 of FILE: its text has half of a character"),
    ],
}


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [(suffix, content, message) for suffix, cases in REFUSED.items() for content, message in cases],
)
def test_what_would_lose_text_is_one_line(suffix: str, content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_text(content)
    with pytest.raises(RequestError) as error:
        list(texts_of(file, "text", "utf-8"))
    assert str(error.value).startswith(message.replace("FILE", str(file)))
    assert "\n" not in str(error.value)


def test_one_cell_that_looks_like_several_gets_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id;text\n1;a\n")
    assert list(texts_of(file, "1", "utf-8")) == ["id;text", "1;a"]
    assert f"line 1 of {file} is taken as a single cell: cells are separated by commas" in caplog.text


def test_only_corpora_with_data_newlines_are_advised_to_set_it(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["text"], *([f"Dear reader {number},\r\nall is well."] for number in range(20))])
    own, cells = (Continuation.built_for(c).described(c) for c in (text(str(file), 0.9), table(str(file), "text", 0.9)))
    assert own.endswith("; Windows line ends are kept, each with a \\r (data.newlines=unix removes them)")
    assert cells.endswith("; Windows line ends are kept, each with a \\r")
