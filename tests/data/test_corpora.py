"""Loaders: every corpus is read as it is written, split as asked, and refused in one line if it is none."""

import os
from pathlib import Path

import pytest

from gpt.base.errors import RequestError, UserError
from gpt.base.installation import TINY_SHAKESPEARE
from gpt.data import corpora
from gpt.data.corpora import copy, lines_of, multi30k, parallel, read_text, reverse, shakespeare, text
from gpt.data.corpus import PairCorpus, TextCorpus
from tests.conftest import DATA, small_corpus

BOM = b"\xef\xbb\xbf"


def test_any_utf8_text_is_read_as_it_is_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(BOM + "Zeile eins\r\nZeile zwei: 漢字\n".encode())
    assert read_text(path) == "Zeile eins\r\nZeile zwei: 漢字\n"
    path.write_bytes(b"a" + BOM)  # anywhere else it is one
    assert read_text(path) == "a\ufeff"


NO_TEXT = {
    "nowhere": "there is no file", "empty": "is empty", "binary": r"not UTF-8 text \(byte 1 ",
    "pipe": "is not a file", "/dev/zero": "is not a file", "/proc/self/status": "is empty", ".": "is not a file",
}  # fmt: skip


@pytest.mark.parametrize(("path", "message"), NO_TEXT.items())
def test_what_is_no_text_file_is_refused_without_waiting_for_it(path: str, message: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"a\xff\xfeb")
    with pytest.raises(RequestError, match=message):
        read_text(tmp_path / path)


def test_a_text_is_split_where_the_train_fraction_says(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(BOM + "äbcdefghij".encode())
    assert text(str(path), 0.9) == TextCorpus("äbcdefghi", "j")
    assert text(str(path), 0.55) == TextCorpus("äbcde", "fghij")


def test_tiny_shakespeare_is_65_characters_and_nine_tenths_of_it_are_for_training() -> None:
    corpus = shakespeare(0.9)
    assert (len(corpus.train), len(corpus.val)) == (1_003_854, 111_540)
    assert len(corpus.characters) == 65


def test_a_tiny_shakespeare_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / TINY_SHAKESPEARE.name
    path.write_bytes(TINY_SHAKESPEARE.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE", path)
    with pytest.raises(UserError, match=r"has been changed .*: restore it with git, .*: data=text data\.path="):
        shakespeare(0.9)


def test_multi30k_has_its_documented_sizes() -> None:
    if not (DATA / "multi30k" / "train.de.gz").exists():
        pytest.skip("multi30k is not here")
    corpus = multi30k(str(DATA), 4000)
    assert [len(part) for part in (corpus.train, corpus.val, corpus.test)] == [29_000, 1_014, 1_000]
    assert corpus.vocab_size == 4000
    assert corpus.val[0] == (
        "Eine Gruppe von Männern lädt Baumwolle auf einen Lastwagen",
        "A group of men are loading cotton onto a truck",
    )


def test_made_up_pairs_are_copied_or_reversed() -> None:
    for task, step in ((copy, 1), (reverse, -1)):
        corpus = task(length=7, size=1000, vocab_size=100)
        assert [len(part) for part in (corpus.train, corpus.val, corpus.test)] == [900, 50, 50]
        for source, target in corpus.train:
            assert 2 <= len(source.split()) <= 7
            assert target.split() == source.split()[::step]
        assert task(length=7, size=1000, vocab_size=100) == corpus
        with pytest.raises(RequestError, match=r"length \* data\.size must be at most 10,000,000"):
            task(1000, 200_000, 100)


def write_pairs(folder: Path, german: bytes, english: bytes) -> dict[str, str]:
    (folder / "de").write_bytes(german)
    (folder / "en").write_bytes(english)
    return {"source": str(folder / "de"), "target": str(folder / "en")}


def test_line_i_of_two_files_is_a_pair_and_the_last_are_held_out(tmp_path: Path) -> None:
    german = "".join(f"Wort {i}\r\n" for i in range(20))  # written on Windows
    english = "\n".join(f"word {i}" for i in range(20))  # without a last line end
    corpus = parallel(**write_pairs(tmp_path, BOM + german.encode(), english.encode()), held_out=0.2, vocab_size=100)
    pairs = [(f"Wort {i}", f"word {i}") for i in range(20)]
    assert (corpus.train, corpus.val, corpus.test) == (pairs[:16], pairs[16:18], pairs[18:])


def test_only_line_feeds_end_a_line() -> None:
    assert lines_of("a\nb\r\nc\u2028d\x0be\x85f\n") == ["a", "b", "c\u2028d\x0be\x85f"]
    assert lines_of("a\n\nb\n\n") == ["a", "", "b", ""]


@pytest.mark.parametrize(
    ("german", "english", "message"),
    [
        ("a\nb\nc", "a\nb", "has 3 lines and .* has 2: both need the same number"),
        ("a\n\nc", "a\nb\nc", "line 2 of .* is empty"),
        ("a\nb\nc", "a\nb\nc", "too few to hold"),
        ("", "a", "is empty"),
    ],
)
def test_files_that_do_not_go_together_are_refused(tmp_path: Path, german: str, english: str, message: str) -> None:
    files = write_pairs(tmp_path, german.encode(), english.encode())
    with pytest.raises(RequestError, match=message):
        parallel(**files, held_out=0.1, vocab_size=100)


def test_the_digest_tells_one_corpus_or_split_from_another() -> None:
    content = small_corpus()
    texts = [TextCorpus(content[:900], content[900:]), TextCorpus(content[:901], content[901:])]
    pairs = [("a b", "c"), ("d", "e f")]
    corpora = [*texts, PairCorpus(pairs, pairs, pairs, 100), PairCorpus(pairs, pairs, pairs[::-1], 100)]
    assert len({corpus.digest for corpus in corpora}) == 4
    assert TextCorpus(content[:900], content[900:]).digest == texts[0].digest
    assert PairCorpus(list(pairs), pairs, pairs, 100).digest == corpora[2].digest
