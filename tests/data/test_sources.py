"""A text is split by lines or files in random order: nothing is lost, and every run has the same splits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.corpora import text
from gpt.data.corpus import TextCorpus
from gpt.data.sources import divided, lines_in


@given(st.text("ab\r\n\u2028", min_size=1))
def test_lines_are_the_text_with_a_line_end_at_its_end(content: str) -> None:
    assert "".join(lines_in(content)) == content + "\n" * (not content.endswith("\n"))


@given(st.lists(st.text("abc", max_size=5).map(lambda line: f"{line}\n"), min_size=2), st.floats(0.05, 0.95))
def test_each_line_is_in_one_split(lines: list[str], fraction: float) -> None:
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
    for number in range(20):
        (tmp_path / "many" / f"{number}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "many" / f"{number}.txt").write_text(f"file {number}\nof 20")
    by_files = corpus(tmp_path / "many", split="files", separator="\n--\n")
    assert sorted((by_files.train + "\n--\n" + by_files.val).split("\n--\n")) == sorted(
        f"file {number}\nof 20" for number in range(20)
    )


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
    with pytest.raises(RequestError, match=r"but perhaps Latin-1: add data\.encoding=latin-1; data"):
        corpus(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(content.encode("utf-16"))
    with pytest.raises(RequestError, match=r"but perhaps UTF-16: add data\.encoding=utf-16"):
        corpus(tmp_path / "a.txt")
    with pytest.raises(RequestError, match=r"data\.encoding=nonsense is not known"):
        corpus(tmp_path / "a.txt", encoding="nonsense")
    with pytest.raises(RequestError, match="is not text in ascii"):
        corpus(tmp_path / "a.txt", encoding="ascii")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(RequestError, match="but a PNG picture: leave it out with a pattern"):
        corpus(tmp_path / "a.png")
