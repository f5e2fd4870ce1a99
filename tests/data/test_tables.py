"""Tables lose no text: each is read back exactly, and what would lose some is refused with its file and line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.base.losses import SPLITS
from gpt.data.corpora import text
from gpt.data.lines import Documents
from gpt.data.paths import files_of
from gpt.data.tables import is_table, texts_in
from gpt.tasks.continuation import Continuation
from tests.extras import require_extra

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0;\t") | st.sampled_from("\"',\r\n\u2028 ")
PLAIN = st.text("ab 1\"'", min_size=1, max_size=5).filter(lambda cell: not cell.startswith('"'))


def texts_of(file: Path, field: str | None, encoding: str = "utf-8") -> list[str]:
    return [*texts_in([file], field, encoding)]


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[str]) -> list[list[str]]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6))


@given(rows=tables(st.text(CHARACTERS, max_size=6)))
def test_any_table_that_csv_writes_is_read_back_exactly(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("table") / "a.csv"
    names = [f"name {place}" for place in range(len(rows[0]))]
    with file.open("w", encoding="utf-8-sig", newline="") as opened:
        csv.writer(opened).writerows([names, *rows])
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        assert texts_of(file, name, "utf-8") == [cell for cell in column if cell.strip()]


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".tsv", "\t"), (".TSV", "\t")])
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
    names = [f"name{number}" for number in range(len(rows[0]))]
    rows = [names, *rows[:place], ["a"] * count, *rows[place:]]
    file.write_bytes(end.join(map(between.join, rows)).encode())
    if count == len(names):
        assert len(texts_of(file, "name0")) <= len(rows)
        return
    line = min(place + 2, len(rows))
    words = f"line {line} of {file} has {count} cells"
    with pytest.raises(RequestError) as error:
        texts_of(file, "name0")
    assert str(error.value).startswith(words)


READ = {
    "a quotation mark in a TSV": (".tsv", 'text\n"Stop, he said\nGo\n"on"\n', "text", ['"Stop, he said', "Go", '"on"']),
    "a first line of Excel": (".csv", "sep=;\ntext;n\na,b;1\n", "text", ["a,b"]),
    "a text that begins like JSON": (".txt", '["a", "b"]\n', None, ['["a", "b"]\n']),
    "a name that is a number": (".csv", "2020,2021\na,b\n", "2021", ["b"]),
}


@pytest.mark.parametrize(("suffix", "content", "field", "texts"), READ.values(), ids=list(READ))
def test_what_once_lost_rows_is_read(suffix: str, content: str, field: str, texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_text(content)
    assert texts_of(file, field) == texts


REFUSED = {
    ".csv": [
        ("id,text\n1,a\n2,b, c\n", "line 3"),
        ('id,text\n"1\n",a\n2\n', "line 4"),
        ("text,text\na,b\n", "2 columns text"),
        ('id,text\n1,"a" b\n', "line 2"),
        ('id,text\n1,a\n2,"b\n3,c\n', "line 3"),
        ("1,2\n", "column text"),
        ("text\na\0\n", "U+0000"),
    ],
    ".tsv": [("text\na\n\nb\tc\n", "line 4")],
    ".jsonl": [
        ('{"text": "a"}\n{"text": "b"\n', "line 2"),
        ("[1]\n", "line 1"),
        ('{"text": ["a", "b"]}\n', '["a", "b"]'),
        ('{"text": "\\ud800"}\n', '"\\ud800"'),
        ('{"x": "a"}\n', "column text"),
    ],
    ".json": [('{"text": "a"}', "JSON list"), ('[{"text": "a"}', "JSON"), ('[{"text": "a"}, {"text": 1}]', "item 2")],
    ".parquet": [("PAR1", "Parquet")],
}


@pytest.mark.parametrize(
    ("suffix", "content", "word"),
    [(suffix, content, word) for suffix, cases in REFUSED.items() for content, word in cases],
)
def test_what_would_lose_text_is_one_line(suffix: str, content: str, word: str, tmp_path: Path) -> None:
    if suffix == ".parquet":
        require_extra("datasets")
    file = tmp_path / f"a{suffix}"
    file.write_text(content)
    with pytest.raises(RequestError) as error:
        texts_of(file, "text")
    assert str(file) in str(error.value)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


REVIEWS = [f"Film {number:03}: good, or not; who\tknows?" for number in range(40)]


def _parquet(file: Path, rows: list[dict[str, object]]) -> None:
    require_extra("datasets")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), file)


def _cells(separator: str) -> Callable[[Path, list[dict[str, object]]], None]:
    def write(file: Path, rows: list[dict[str, object]]) -> None:
        with file.open("w", newline="") as opened:
            writer = csv.writer(opened, delimiter=separator)
            writer.writerows([[*rows[0]], *(row.values() for row in rows)])

    return write


def _json(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text(json.dumps(rows, indent=1))


def _json_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)))


WRITERS = {
    "a.csv": _cells(","),
    "semicolons.csv": _cells(";"),
    "tabs.tsv": _cells("\t"),
    "a.json": _json,
    "a.jsonl": _json_lines,
    "a.parquet": _parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_name_says_what_a_file_is(name: str, tmp_path: Path) -> None:
    texts = [review.replace("\t", " ") for review in REVIEWS] if name == "tabs.tsv" else REVIEWS
    for column in ("text", "Review"):
        WRITERS[name](tmp_path / name, [{"id": i, "day": "2026-01-31", column: x} for i, x in enumerate(texts)])
        assert texts_of(tmp_path / name, None) == texts
    WRITERS[name](tmp_path / name, [{"title": x[:8], "review": x} for x in texts])
    with pytest.raises(RequestError, match=r"data\.field=title"):
        texts_of(tmp_path / name, None)
    assert texts_of(tmp_path / name, "review") == texts


PROSE = [
    "Roses are red, violets are blue,\nSugar is sweet, and so are you,\nThis is a verse, it rhymes with you,\n",
    '{"a": 1}\n',
    "[section]\nkey = 1\n",
    "a,b\n",
    "text,label\na,b\nc,d\n",
]


@pytest.mark.parametrize("content", PROSE)
def test_every_other_file_is_text(content: str, tmp_path: Path) -> None:
    for name in ("a", "a.txt", "a.md", "a.tab", "a.ndjson"):
        (tmp_path / name).write_text(content)
        assert not is_table(tmp_path / name)


def test_a_folder_may_mix_tables_texts_and_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.csv", "a.json"):
        WRITERS[name](tmp_path / name, [{"text": f"{name} {review}"} for review in REVIEWS])
    (tmp_path / "b.txt").write_text("A letter\nof two lines.")
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.7 \0")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "e.bin").write_bytes(b"\0\1")
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    found = text(str(tmp_path), 0.5)
    assert isinstance(found, Documents)
    documents = [each for split in (found.train, found.val) for each in split.split(found.separator)]
    expected = [f"{name} {review}" for name in ("a.csv", "a.json") for review in REVIEWS]
    assert sorted(documents) == sorted([*expected, "A letter\nof two lines."])
    no_text, no_texts = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert no_text.endswith(f": {tmp_path / 'c.pdf'}, {tmp_path / 'd' / 'e.bin'}")
    assert no_texts.endswith(f": {tmp_path / 'f.csv'}")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"%PDF-1.7 \0", "PDF"),
        (b"PK\3\4 word/document.xml", "Word"),
        (b"PK\3\4 xl/workbook.xml", "Excel"),
        (b"PK\3\4 other", "ZIP"),
    ],
)
def test_pdf_and_word_are_one_line(content: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    for tokenizer in ("characters", "bytes"):
        with pytest.raises(RequestError, match=word):
            text(str(tmp_path / "a"), 0.9, tokenizer=tokenizer)


def test_what_is_for_a_table_or_a_text_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("To be\n")
    with pytest.raises(RequestError, match=r"data\.field=text"):
        text(str(tmp_path / "a"), 0.9, field="text")
    _json_lines(tmp_path / "b.jsonl", [{"text": review} for review in REVIEWS])
    with pytest.raises(RequestError, match=r"data\.split=lines"):
        text(str(tmp_path / "b.jsonl"), 0.9, split="lines")


def test_the_line_ends_of_windows_are_told_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["text"], *([f"Dear reader {number},\r\nall is well."] for number in range(20))])
    corpus = text(str(file), 0.9)
    told = "; Windows line ends are kept, each with a \\r (of your own text, data.newlines=unix removes them)"
    assert Continuation.built_for(corpus).described(corpus).endswith(told)
    assert "\r" not in text(str(file), 0.9, newlines="unix").characters


@pytest.mark.parametrize("mark", [b"", b"\xff\xfe"])
def test_utf_16_is_named(mark: bytes, tmp_path: Path) -> None:
    for name in ("a.txt", "a.csv"):
        (tmp_path / name).write_bytes(
            mark + "\n".join(["text", *(f"Film {number}" for number in range(40))]).encode("utf-16-le")
        )
        with pytest.raises(RequestError, match=r"data\.encoding=utf-16"):
            text(str(tmp_path / name), 0.9)
        found = text(str(tmp_path / name), 0.9, encoding="utf-16" if mark else "utf-16-le")
        assert "Film" in "".join(found.texts("train"))


def test_train_val_and_test_are_the_splits(tmp_path: Path) -> None:
    for name in ("test", "train", "val"):
        (tmp_path / f"{name}.txt").write_text(f"this is {name}")
    found = text(str(tmp_path), 0.9)
    assert [*found.texts("train"), *found.texts("val"), *found.texts("test")] == [f"this is {name}" for name in SPLITS]


def test_a_linked_folder_is_followed_but_not_into_itself(tmp_path: Path) -> None:
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    (tmp_path / "inside" / "loop").symlink_to(tmp_path / "inside", target_is_directory=True)
    assert [path.name for path in files_of(str(tmp_path / "inside"))] == ["inside.txt", "outside.txt"]
