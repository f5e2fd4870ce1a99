"""A text is split by lines or files in random order: nothing is lost, and every run has the same splits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.corpora import text
from gpt.data.corpus import TextCorpus
from gpt.data.lines import documents
from gpt.data.records import read_text
from gpt.data.splits import split_by


@given(st.text("ab\r\n\u2028", min_size=1), st.floats(0.05, 0.95))
def test_every_line_is_whole_and_in_one_split(content: str, fraction: float) -> None:
    ended = content + "\n" * (not content.endswith("\n"))
    try:
        train, val = split_by("lines", [content], fraction, "")
    except RequestError:  # of two lines, both may be needed for training
        return
    assert sorted((train + val).split("\n")) == sorted(ended.split("\n"))
    assert train.endswith("\n")
    assert len(train) <= fraction * len(ended)
    assert (train, val) == split_by("lines", [content], fraction, "")


def corpus(path: Path, **options: str) -> TextCorpus:
    found = text(str(path), 0.9, **options)  # type: ignore[arg-type]
    assert isinstance(found, TextCorpus)
    return found


def test_a_sorted_list_is_mixed_and_files_stay_whole(tmp_path: Path) -> None:
    names = [f"name{number:04d}" for number in range(500)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    by_place, by_lines = (corpus(tmp_path / "names.txt", split=split) for split in ("place", "lines"))
    assert "name0100" not in by_place.val
    assert len({line[5] for line in by_lines.val.split()}) == 5  # from every hundred
    assert sorted((by_lines.train + by_lines.val).split()) == names
    assert by_lines.digest != by_place.digest
    (tmp_path / "many").mkdir()
    files = sorted(f"file {number}\nof 20" for number in range(20))
    for content in files:
        (tmp_path / "many" / content[:7]).write_text(content)
    by_files = corpus(tmp_path / "many", split="files", separator="\n--\n")
    assert sorted((by_files.train + "\n--\n" + by_files.val).split("\n--\n")) == files


def test_too_few_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.txt").write_text("one line")
    with pytest.raises(RequestError, match="1 part"):
        corpus(tmp_path / "one.txt", split="lines")
    monkeypatch.setattr("gpt.data.corpora._LARGEST_IN_MEMORY", 4)
    with pytest.raises(RequestError, match=r"data\.split=lines"):
        corpus(tmp_path / "one.txt", split="lines")


def test_other_encodings_and_line_ends_are_read(tmp_path: Path) -> None:
    content = "Größe\r\n" * 50
    for encoding in ("utf-16", "latin-1", "cp1252"):
        (tmp_path / "a.txt").write_bytes(content.encode(encoding))
        kept, unix = (corpus(tmp_path / "a.txt", encoding=encoding, newlines=n) for n in ("kept", "unix"))
        assert kept.train + kept.val == content
        assert unix.train + unix.val == content.replace("\r", "")


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        (b"a\nb\n\xf6", "utf-8", r"/a .*line 3.*data\.encoding"),
        (b"\xf6", "nonsense", r"data\.encoding=nonsense"),
        (b"a\n\xf6", "ascii", r"/a .*data\.encoding=ascii.*line 2"),
    ],
)
def test_an_error_of_encoding_names_file_line_and_key(
    content: bytes, encoding: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RequestError, match=words):
        corpus(tmp_path / "a", encoding=encoding)


def test_commands_without_data_encoding_advise_to_convert(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xf6")
    with pytest.raises(RequestError, match="convert"):
        read_text(tmp_path / "a")


def test_copies_of_a_document_are_in_one_split(tmp_path: Path) -> None:
    five = [f"{number}: a document of which there are sixty copies" for number in range(5)]
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number:03}").write_text(five[number % 5])
    files, found = corpus(tmp_path / "many", split="files"), documents(str(tmp_path / "many"), "\n", 0.8)
    for splits in (files, found):
        train, val = (set(split.split("\n")) for split in (splits.train, splits.val))
        assert train | val == set(five)
        assert not train & val
