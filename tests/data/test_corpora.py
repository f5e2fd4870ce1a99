"""Loaders: every corpus is read as it is written, split as asked, and refused in one line if it is none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt.base.choices import Choice
from gpt.base.errors import RequestError, UserError
from gpt.base.installation import TINY_SHAKESPEARE
from gpt.data import corpora
from gpt.data.corpora import LOADER, copy, lines_of, multi30k, parallel, read_text, reverse, shakespeare, text
from gpt.data.corpus import PairCorpus, TextCorpus
from tests.conftest import DATA, small_corpus

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "/proc/self/status", "."])
def test_what_is_no_ordinary_file_is_refused_without_waiting_for_it(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match=r"is not a file|is empty"):
        read_text(tmp_path / path)


def test_any_utf8_text_is_read_as_it_is_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(BOM + "Zeile eins\r\nZeile zwei: 漢字\n".encode())
    assert read_text(path) == "Zeile eins\r\nZeile zwei: 漢字\n"
    path.write_bytes(b"a" + BOM)  # anywhere else it is one
    assert read_text(path) == "a\ufeff"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), (b"", "is empty"), (b"a\xff\xfeb", r"not UTF-8 text \(byte 1 ")],
)
def test_a_file_that_is_not_text_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=message):
        read_text(path)
    with pytest.raises(RequestError, match="is not a file"):
        read_text(tmp_path)


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


@pytest.mark.parametrize("task", [copy, reverse])
def test_made_up_pairs_are_copied_or_reversed(task: Callable[..., PairCorpus]) -> None:
    corpus = task(length=7, size=1000, vocab_size=100)
    assert [len(part) for part in (corpus.train, corpus.val, corpus.test)] == [900, 50, 50]
    for source, target in corpus.train:
        assert 2 <= len(source.split()) <= 7
        assert target.split() == (source.split() if task is copy else source.split()[::-1])
    assert task(length=7, size=1000, vocab_size=100) == corpus


def write_pairs(folder: Path, german: bytes, english: bytes) -> dict[str, str]:
    (folder / "de").write_bytes(german)
    (folder / "en").write_bytes(english)
    return {"source": str(folder / "de"), "target": str(folder / "en")}


def test_made_up_pairs_of_too_many_letters_are_refused() -> None:
    with pytest.raises(RequestError, match=r"length \* data\.size must be at most 10,000,000"):
        copy(1000, 200_000, 100)


def test_line_i_of_two_files_is_a_pair_and_the_last_are_held_out(tmp_path: Path) -> None:
    german = "".join(f"Wort {i}\r\n" for i in range(20))  # written on Windows
    english = "\n".join(f"word {i}" for i in range(20))  # without a last line end
    corpus = parallel(**write_pairs(tmp_path, german.encode(), english.encode()), held_out=0.2, vocab_size=100)
    pairs = [(f"Wort {i}", f"word {i}") for i in range(20)]
    assert (corpus.train, corpus.val, corpus.test) == (pairs[:16], pairs[16:18], pairs[18:])


def test_a_byte_order_mark_is_stripped_from_a_parallel_file(tmp_path: Path) -> None:
    lines = [b"a b c\n" * 10, b"d e f\n" * 10]
    plain = parallel(**write_pairs(tmp_path, *lines), held_out=0.2, vocab_size=100)
    marked = parallel(**write_pairs(tmp_path, *(BOM + content for content in lines)), held_out=0.2, vocab_size=100)
    assert marked == plain
    assert marked.train[0] == ("a b c", "d e f")


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


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"_target_": "gpt.data.corpora.nothing"}, "data._target_=gpt.data.corpora.nothing is not a loader"),
        ({"_target_": "gpt.data.corpora.read_text", "path": "x"}, "gpt.data.corpora.read_text is not a loader"),
        ({"_target_": "os.system", "command": "true"}, "data._target_=os.system is not a loader of a corpus"),
        (
            {"_target_": "gpt.data.corpora.text", "path": "x"},
            "data.train_fraction is required by gpt.data.corpora.text",
        ),
        ({"_target_": "gpt.data.corpora.text", "path": "", "train_fraction": 0.9}, "data.path="),
        ({"_target_": "gpt.data.corpora.text", "path": "x", "train_fraction": 1.0}, r"train_fraction=1.0: .*below 1"),
        ({"_target_": "gpt.data.corpora.copy", "length": 1, "size": 100, "vocab_size": 100}, "data.length=1: "),
    ],
)
def test_a_choice_that_is_no_loader_or_has_no_such_values_is_refused(choice: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        LOADER.build(Choice.model_validate(choice))
