"""Texts that are too long for memory: encoded once, into files that are mapped, and the same batches as in memory."""

import random
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.base.errors import RequestError, UserError
from gpt.data import records, sources, tokenizers
from gpt.data.corpora import text
from gpt.data.corpus import Text, TextCorpus, Tokens
from gpt.data.long_text import LongText
from gpt.data.paths import files_of
from gpt.data.sources import Source
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from tests.conftest import small_corpus, split_text
from tests.extras import require_extra

CONTENT = small_corpus() + "é€😀\n" * 300 + "z" * 5000


def read_in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (records, sources):
        monkeypatch.setattr(module, "PIECE", size)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_pieces(monkeypatch, 1000)  # so that a short text has many


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "long.txt"
    path.write_text(CONTENT)
    return path


def opened(*paths: Path, train_fraction: float = 0.9, tokens: Tokens | None = None) -> LongText:
    return LongText([Source(paths, "\n")], paths[0].parent / "prepared", tokens or Tokens(), train_fraction)


def same(text: Text, content: str, train_fraction: float = 0.9) -> None:
    short = split_text(content, train_fraction)
    assert (text.characters, text.lengths()) == (short.characters, short.lengths())
    assert list(text.parts()) == list(short.parts())
    tokenizer = CharTokenizer(short.characters)
    for split, ids in short.encoded(tokenizer).items():
        assert torch.equal(text.encoded(tokenizer)[split][:], ids[:])


def test_a_text_is_encoded_once_wherever_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, elsewhere = CharTokenizer(CONTENT), file.parent / "elsewhere"
    ids = opened(file).encoded(tokenizer)
    elsewhere.mkdir()
    moved = file.rename(elsewhere / file.name)
    monkeypatch.delattr(Source, "__iter__")
    again = LongText([Source([moved], "\n")], file.parent / "prepared", Tokens(), 0.9).encoded(tokenizer)
    assert all(torch.equal(ids[split][:], again[split][:]) for split in ids)


def test_another_text_under_the_same_name_is_another(file: Path) -> None:
    digests = {opened(file).digest, opened(file, train_fraction=0.5).digest}
    for other in (CONTENT[::-1], CONTENT[::-1].replace("é", "è")):
        file.write_text(other)
        same(opened(file), other)
        digests.add(opened(file).digest)
    assert len(digests) == 4


@settings(max_examples=25)
@given(content=st.text(min_size=2, max_size=60), fraction=st.floats(0.1, 0.9), size=st.integers(1, 7))
def test_a_long_text_is_the_text_in_memory_wherever_it_is_cut(content: str, fraction: float, size: int) -> None:
    content = "".join(c if c.isprintable() else "\n" for c in content)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        read_in_pieces(patch, size)
        path = Path(folder, "text")
        path.write_bytes(content.encode())
        same(opened(path, train_fraction=fraction), content, fraction)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "shift_jis"])
def test_a_long_text_in_any_encoding_is_the_text_in_memory(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "".join(f"{number}: {'日本' if encoding == 'shift_jis' else 'é'}\r\n" for number in range(300))
    path = tmp_path / "text"
    path.write_bytes(content.encode(encoding))
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path))
    for newlines in ("kept", "unix"):
        texts = []
        for size in (2**24, 10):
            monkeypatch.setattr("gpt.data.corpora._LARGEST_IN_MEMORY", size)
            texts.append(text(str(path), 0.9, encoding=encoding, newlines=newlines))
        assert [type(each) for each in texts] == [TextCorpus, LongText]
        assert list(texts[0].parts()) == list(texts[1].parts())


WRITTEN = (
    "的一是不了人我在有。\n日本\u3000語の文章、he's don't 'tis o'clock_x'll re've'd 3.14,159;26½89Ⅷ/79\t"
    "नमस्तेदुनिया।फिर, Tie\u0302\u0301ng"
)


@pytest.mark.parametrize("kind", ["subwords", "words", "bytes"])
def test_a_long_text_has_the_tokens_of_one_in_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "subwords":
        require_extra("subwords")
    draw = random.Random(2)
    content = "".join(WRITTEN[draw.randrange(len(WRITTEN)) :] for _ in range(300))
    path, tokens = tmp_path / "text", Tokens(kind, 300)
    path.write_text(content)
    in_memory = replace(split_text(content), tokens=tokens)
    expected = tokenizers.built_for(in_memory)
    for size in (100, 501):
        read_in_pieces(monkeypatch, size)
        text = LongText([Source([path])], tmp_path / f"prepared{size}", tokens, 0.9)
        tokenizer = tokenizers.built_for(text)
        assert tokenizer.vocabulary == expected.vocabulary
        ids = text.encoded(tokenizer)
        for split, part in in_memory.encoded(expected).items():
            assert torch.equal(ids[split][:], part[:])


def test_a_long_text_serves_the_batches_of_one_in_memory(file: Path) -> None:
    tokenizer = CharTokenizer(CONTENT)
    data, expected = (TextData(text, tokenizer, block_size=16) for text in (opened(file), split_text(CONTENT)))
    pairs = [(data.training_batch(1, i, 8), expected.training_batch(1, i, 8)) for i in range(5)]
    for each in ("every_target_once", "every_target_in_context"):
        pairs += zip(getattr(data, each)("val", 256), getattr(expected, each)("val", 256), strict=True)
    for batch, wanted in pairs:
        assert torch.equal(batch.inputs[0], wanted.inputs[0])
        assert torch.equal(batch.targets, wanted.targets)
        assert batch.tokens == wanted.tokens
    assert data.ids("val")._ids.dtype == np.uint8


def test_several_files_are_one_text_with_a_newline_between_them(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, content in {"a.txt": "\ufeffone", "b/d.txt": "", "b/c.txt": "two é", "b/.hidden": "no"}.items():
        (tmp_path / name).write_text(content)
    listed = [str(tmp_path / "b"), str(tmp_path / "*.txt")]
    assert [file.name for file in files_of(listed)] == ["c.txt", "d.txt", "a.txt"]
    same(LongText([Source(files_of(listed), "\n")], tmp_path / "prepared", Tokens(), 0.5), "two é\n\none", 0.5)


NO_FILE = {"empty": "empty", "*.c": "*.c", "looped": "looped/loop", "[ , ]": "[ , ]", "[a.txt,'']": "[a.txt,'']"}


def test_a_path_to_no_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "looped").mkdir()
    (tmp_path / "looped" / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    for path, word in NO_FILE.items():
        with pytest.raises(RequestError, match=re.escape(word)):
            files_of(path)


def test_what_is_not_text_is_named_with_its_line(file: Path) -> None:
    other = file.with_name("b")
    other.write_bytes(b"y" * 2499 + b"\n\xff" + b"y" * 3000)
    with pytest.raises(RequestError, match=f"{other} .*line 2"):
        opened(file, other)


def test_an_unwritable_place_says_how_to_choose_another(file: Path) -> None:
    (file.parent / "prepared").write_text("a file")
    with pytest.raises(UserError, match="GPT_DATA_DIR"):
        opened(file)
