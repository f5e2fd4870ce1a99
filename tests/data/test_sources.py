"""A text is split by lines or files in random order: nothing is lost, and every run has the same splits."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.corpora import text
from gpt.data.corpus import TextCorpus
from gpt.data.lines import documents
from gpt.data.sources import divided, lines_in, read_text


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


WRITTEN = {
    "ru": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n",
    "ja": "吾輩は 猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "zh": "话说 天下大势，分久必合，合久必分。周末七国分争，并入于秦。\n",
    "tw": "話說 天下大勢，分久必合，合久必分。周末七國分爭，并入於秦。\n",
    "ko": "동해물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세.\n",
    "pl": "Zażółć gęślą jaźń. Litwo! Ojczyzno moja! ty jesteś jak zdrowie.\n",
    "de": "Die Größe der Straße läßt sich nicht übersehen. Über den Wäldern hängt ein trüber Himmel.\n",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.\n",
}


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("ru", "cp1251"), ("ru", "koi8-r"), ("ja", "shift_jis"), ("ja", "euc_jp"), ("zh", "gbk"), ("tw", "big5"),
        ("ko", "euc_kr"), ("pl", "cp1250"), ("de", "cp1252"), ("de", "cp850"), ("el", "cp1253"),
        ("de", "utf-16-le"), ("de", "utf-16-be"), ("ru", "utf-16"), ("de", "utf-32-le"), ("ja", "utf-32"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("begins", ["", "ASCII\n" * 5000])
def test_an_encoding_is_named_in_which_the_text_reads_right(
    begins: str, language: str, encoding: str, tmp_path: Path
) -> None:
    """And a reader sees how it would read: who obeys a name alone may train on nonsense."""
    content = begins + WRITTEN[language] * 10
    (tmp_path / "a").write_bytes(content.encode(encoding))
    with pytest.raises(RequestError, match="is not UTF-8 text") as error:
        corpus(tmp_path / "a")
    found = re.search(r"but (.*): add data\.encoding=(\S+)", str(error.value))
    assert found, str(error.value)
    read = corpus(tmp_path / "a", encoding=found[2].removesuffix(";"))
    assert read.train + read.val == content
    if not encoding.startswith("utf"):
        assert re.search(rf"perhaps {found[2]} \('.*{WRITTEN[language].split()[1][:12]}", found[1])


def test_what_nothing_speaks_for_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(random.Random(1).randbytes(5000))
    with pytest.raises(RequestError, match=r"is not UTF-8 text \(byte \d+ is not\); data.tokenizer=bytes"):
        corpus(tmp_path / "a")


@pytest.mark.parametrize("between", ["\0", "\0" * 7, "\0" * 100], ids=len)
@pytest.mark.parametrize("name", ["src/main.c", "größe.txt", "notes"])
def test_a_text_with_null_characters_is_not_taken_for_utf_16(name: str, between: str, tmp_path: Path) -> None:
    """As `find -print0` writes it: a text of another encoding has its zeros at every second byte only."""
    names = "".join(f"{i * i}{name}{between}" for i in range(400))
    (tmp_path / "a").write_text(names)
    with pytest.raises(RequestError, match=r"is not UTF-8 text \(byte \d+ is not\), but has null bytes; "):
        corpus(tmp_path / "a")


@pytest.mark.parametrize("encoding", ["utf-16", "cp1251", None])
def test_only_keys_that_the_command_has_are_advised(encoding: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes((WRITTEN["ru"] * 10).encode(encoding) if encoding else random.Random(1).randbytes(5000))
    said = []
    for read in (corpus, lambda path: documents(str(path), "\n", 0.9), read_text):
        with pytest.raises(RequestError, match="is not UTF-8 text") as error:
            read(path)
        said.append(str(error.value))
    assert ["add data.encoding=" in advice for advice in said] == [bool(encoding), bool(encoding), False]
    assert ["data.tokenizer=" in advice for advice in said] == [True, False, False]
    assert said[2].endswith("convert it to UTF-8" if encoding else "is not)")


def test_copies_are_in_one_split_or_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    five = [f"{number}: a document of which there are sixty copies" for number in range(5)]
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number:03}").write_text(five[number % 5])
    files, found = corpus(tmp_path / "many", split="files"), documents(str(tmp_path / "many"), "\n", 0.8)
    for splits in (files, found):
        train, val = (set(split.split("\n")) for split in (splits.train, splits.val))
        assert train | val == set(five)
        assert not train & val
    assert not caplog.records
    (tmp_path / "lines").write_text("\n".join(five * 60))
    corpus(tmp_path / "lines", split="lines")
    assert "100% of the characters to validate on are in lines of 20 or more that stand in" in caplog.text
