"""A text is split by lines or files in random order: nothing is lost, and every run has the same splits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.corpora import text
from gpt.data.corpus import TextCorpus
from gpt.data.sources import divided, lines_in


@given(st.text("ab\r\n\u2028", min_size=1), st.floats(0.05, 0.95))
def test_each_line_is_in_one_split_and_has_a_line_end(content: str, fraction: float) -> None:
    lines = lines_in(content)
    assert "".join(lines) == content + "\n" * (not content.endswith("\n"))
    try:
        train, val = divided(lines, fraction)
    except RequestError:  # of two lines, both may be needed for training
        return
    assert sorted(lines_in(train) + lines_in(val)) == sorted(lines)
    assert len(train) <= fraction * sum(map(len, lines))
    assert (train, val) == divided(lines, fraction)


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
    with pytest.raises(RequestError, match="1 part is too few to divide"):
        corpus(tmp_path / "one.txt", split="lines")
    monkeypatch.setattr("gpt.data.corpora.IN_MEMORY", 4)
    with pytest.raises(RequestError, match="are for up to 0 MB"):
        corpus(tmp_path / "one.txt", split="lines")


def test_other_encodings_and_line_ends_are_read(tmp_path: Path) -> None:
    content = "Größe\r\n" * 50
    for encoding in ("utf-16", "latin-1", "cp1252"):
        (tmp_path / "a.txt").write_bytes(content.encode(encoding))
        kept, unix = (corpus(tmp_path / "a.txt", encoding=encoding, newlines=n) for n in ("kept", "unix"))
        assert kept.train + kept.val == content
        assert unix.train + unix.val == content.replace("\r", "")


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"Gr\xf6\xdfe", "utf-8", r"but perhaps Latin-1: add data\.encoding=latin-1; data"),
        ("Größe".encode("utf-16"), "utf-8", r"but perhaps UTF-16: add data\.encoding=utf-16"),
        (b"\x89PNG\r\n", "utf-8", "but a PNG picture: leave it out with a pattern"),
        (b"\xf6", "nonsense", r"data\.encoding=nonsense is not known"),
        (b"\xf6", "ascii", "is not text in ascii"),
    ],
)
def test_what_is_not_text_in_an_encoding_says_what_it_may_be(
    content: bytes, encoding: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RequestError, match=message):
        corpus(tmp_path / "a", encoding=encoding)
