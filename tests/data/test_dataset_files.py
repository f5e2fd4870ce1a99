"""Datasets of the Hugging Face hub, which may be out of reach: here local files stand for one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.extras import require_extra

require_extra("datasets")

import datasets

from gpt.base.errors import RequestError, UserError
from gpt.data.corpora import huggingface
from gpt.data.corpus import Text

ROWS = [f"row {i}: é" for i in range(20)]
Hub = Callable[..., str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A function that puts a dataset with these rows on the hub, and returns its name."""
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    load, path = datasets.load_dataset, tmp_path / "rows.jsonl"
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, split: load("json", data_files=str(path), split=split))

    def put(rows: list[str | None]) -> str:
        path.write_text("".join(json.dumps({"text": row, "n": 1}) + "\n" for row in rows))
        return "someone/rows"

    return put


def loaded(name: str, **changes: Any) -> Text:
    given = {"subset": None, "split": "train", "field": None, "separator": "\n", "tokenizer": "bytes"}
    return huggingface(name, **(given | {"vocab_size": 1000} | changes))


def test_rows_are_written_once_and_again_once_they_have_changed(hub: Hub) -> None:
    for word in ("row", "row", "ROW"):  # written, found written, and changed
        rows = [row.replace("row", word) for row in ROWS]
        assert list(loaded(hub(rows)).parts()) == ["\n".join(rows[:18]), "\n".join(rows[18:])]


@pytest.mark.parametrize("tokenizer", ["bytes", "characters"])
def test_two_splits_are_to_train_and_to_validate_on(tokenizer: str, hub: Hub) -> None:
    name, split = hub(["\ufefffirst", *ROWS, "", "b", None, "c"]), ["train[:21]", "train[21:]"]
    corpus = loaded(name, split=split, separator="<|endoftext|>", tokenizer=tokenizer)
    assert list(corpus.parts()) == ["<|endoftext|>".join(["first", *ROWS]), "b<|endoftext|>c"]


REFUSED = [
    ("someone/rows", {"split": "test"}, r"test\[:90%\]"),
    ("someone/rows", {"field": "n"}, "column n"),
    ("someone/rows", {"split": ["train", "train"]}, r"data\.split=train,train"),
    # The library would read what is here, and a stranger's run folder could name it.
    ("folder", {}, "data=folder"),
    ("json", {}, r"data\.name=json"),
]


@pytest.mark.parametrize(("name", "changes", "word"), REFUSED)
def test_what_cannot_or_must_not_be_read_is_one_line(
    name: str, changes: dict[str, Any], word: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(ROWS)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=word) as error:
        loaded(name, **changes)
    assert "\n" not in str(error.value)


def test_an_unwritable_place_says_how_to_choose_another(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match="GPT_DATA_DIR"):
        loaded(hub(ROWS))
