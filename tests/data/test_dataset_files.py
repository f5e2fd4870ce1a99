"""Datasets that the library `datasets` reads, here from local files: the hub may be out of reach."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gpt.base.errors import RequestError, UserError
from gpt.data.corpora import huggingface
from gpt.data.corpus import Text

pytest.importorskip("datasets", reason="datasets is not installed")

ROWS = [f"row {i}: é" for i in range(20)]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def loaded(name: str, files: Any, **changes: Any) -> Text:
    given = {"subset": None, "split": "train", "field": "text", "separator": "\n", "tokenizer": "bytes"}
    return huggingface(name, files=files, **(given | {"vocab_size": 1000} | changes))


def write(path: Path, rows: list[Any]) -> str:
    """A file with one row a line, compressed or not."""
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as lines:
        lines.writelines(json.dumps({"text": row, "n": 1}) + "\n" for row in rows)
    return str(path)


@pytest.mark.parametrize("file", ["a.jsonl", "a.jsonl.gz"])
def test_files_are_read_once_and_again_once_they_have_changed(file: str, tmp_path: Path) -> None:
    for word in ("row", "row", "ROW"):  # written, found written, and changed
        rows = [row.replace("row", word) for row in ROWS]
        found = loaded("json", write(tmp_path / file, rows))
        assert list(found.parts()) == ["\n".join(rows[:18]), "\n".join(rows[18:])]


@pytest.mark.parametrize("tokenizer", ["bytes", "characters"])
def test_two_splits_are_to_train_and_to_validate_on_without_empty_rows_or_a_byte_order_mark(
    tokenizer: str, tmp_path: Path
) -> None:
    files = [write(tmp_path / "a.jsonl", ["\ufefffirst", *ROWS]), write(tmp_path / "b.jsonl", ["", "b", None, "c"])]
    split = ["train[:21]", "train[21:]"]
    corpus = loaded("json", files, split=split, separator="<|endoftext|>", tokenizer=tokenizer)
    assert list(corpus.parts()) == ["<|endoftext|>".join(["first", *ROWS]), "b<|endoftext|>c"]


@pytest.mark.parametrize(("name", "file"), [("tsv", "a.tsv"), ("csv", "a.tsv"), ("csv", "A.TSV.gz"), ("tsv", "a.txt")])
def test_the_columns_of_a_tsv_file_are_separated_by_tabs(name: str, file: str, tmp_path: Path) -> None:
    texts = [*(f'{row}, said "x"' for row in ROWS), '"two words", with a\ttab', "and\nlines"]
    path = tmp_path / file
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as lines:
        csv.writer(lines, "excel-tab").writerows([("n", "text"), *enumerate(texts)])
    for files in (str(path), [str(path)], str(path.with_stem(f"*{path.stem[1:]}"))):
        assert "|".join(loaded(name, files, separator="|").parts()) == "|".join(texts)


REFUSED = [
    ("json", {"files": "nowhere.jsonl"}, r"cannot load split train\[:90%\] of data\.name=json: .*nowhere"),
    ("json", {"field": "n"}, r"data\.field=n is not a column of texts; there are text$"),
    ("json", {"split": ["train", "train"]}, r"data\.split=train,train: validation needs rows that are not trained on"),
    ("parquet", {}, r"cannot load split train\[:90%\] of data\.name=parquet: "),
    # The library would read what is here, and a stranger's run folder could name it:
    ("folder", {"files": None}, r"is a folder here: name its files with data\.files="),
    ("tsv", {"files": None}, r"data\.name=tsv is a format: name the files to read with data\.files="),
    ("json", {"files": None}, r"data\.name=json is a format: name the files to read with data\.files="),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_what_cannot_or_must_not_be_read_is_one_line(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=message) as error:
        loaded(name, **({"files": "a.jsonl"} | changes))
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_says_where_to_point_it(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .* set GPT_DATA_DIR to a folder with room for it"):
        loaded("json", write(tmp_path / "a.jsonl", ROWS))
