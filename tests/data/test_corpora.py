"""Loaders: every corpus is read as it is written, split as asked, and refused in one line if it is none."""

import os
from pathlib import Path

import pytest

from gpt.base.errors import RequestError, UserError
from gpt.base.installation import TINY_SHAKESPEARE
from gpt.data import corpora
from gpt.data.corpora import copy, multi30k, parallel, read_text, reverse, shakespeare, text
from gpt.data.corpus import PairCorpus, TextCorpus
from tests.conftest import DATA, small_corpus

BOM = b"\xef\xbb\xbf"


def test_a_text_loses_its_mark_and_is_split_by_characters(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(BOM + "é漢\r\n4".encode() + BOM)  # anywhere else, the mark is a character
    assert read_text(path) == "é漢\r\n4\ufeff"
    assert text(str(path), 0.9) == TextCorpus("é漢\r\n4", "\ufeff")
    assert text(str(path), 0.4) == TextCorpus("é漢", "\r\n4\ufeff")


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"a\xff\xfeb")
    for path, word in {
        "nowhere": "nowhere",
        "binary": "line 1",
        "pipe": "pipe",
        "/proc/self/status": "/proc/self/status",
        ".": tmp_path.name,
    }.items():
        with pytest.raises(RequestError, match=word):
            read_text(tmp_path / path)


def test_tiny_shakespeare_is_refused_if_it_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = shakespeare(0.9)
    assert (len(corpus.train), len(corpus.val), len(corpus.characters)) == (1_003_854, 111_540, 65)
    path = tmp_path / TINY_SHAKESPEARE.name
    path.write_bytes(TINY_SHAKESPEARE.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE", path)
    with pytest.raises(UserError, match=f"data={path}"):
        shakespeare(0.9)


def test_multi30k_has_its_documented_sizes() -> None:
    if not (DATA / "multi30k" / "train.de.gz").exists():
        pytest.skip("multi30k is not here")
    corpus = multi30k(str(DATA), 4000)
    assert [len(part) for part in (corpus.train, corpus.val, corpus.test)] == [29_000, 1_014, 1_000]
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
        with pytest.raises(RequestError, match=r"data\.size"):
            task(1000, 200_000, 100)


def paired(folder: Path, german: str, english: str) -> PairCorpus:
    (folder / "de").write_bytes(german.encode())
    (folder / "en").write_bytes(english.encode())
    return parallel(str(folder / "de"), str(folder / "en"), held_out=0.2, vocab_size=100)


def test_lines_of_two_files_are_paired_by_their_number(tmp_path: Path) -> None:
    german = "\ufeff" + "".join(f"Wort {i}\r\n" for i in range(20))  # written on Windows
    english = "\n".join(f"word\u2028\x0b\x85 {i}" for i in range(20))  # only line feeds end a line
    corpus = paired(tmp_path, german, english)
    pairs = [(f"Wort {i}", f"word\u2028\x0b\x85 {i}") for i in range(20)]
    assert (corpus.train, corpus.val, corpus.test) == (pairs[:16], pairs[16:18], pairs[18:])


def test_files_whose_lines_do_not_pair_are_refused(tmp_path: Path) -> None:
    for lines, word in {"a\nb": "/en", "a\n\nc": "line 2", "a\nb\nc": "0.2"}.items():
        with pytest.raises(RequestError, match=word):
            paired(tmp_path, lines, "a\nb\nc")


def test_the_digest_tells_one_corpus_or_split_from_another() -> None:
    content = small_corpus()
    texts = [TextCorpus(content[:900], content[900:]), TextCorpus(content[:901], content[901:])]
    pairs = [("a b", "c"), ("d", "e f")]
    corpora = [*texts, PairCorpus(pairs, pairs, pairs, 100), PairCorpus(pairs, pairs, pairs[::-1], 100)]
    assert len({corpus.digest for corpus in corpora}) == 4
    assert TextCorpus(content[:900], content[900:]).digest == texts[0].digest
