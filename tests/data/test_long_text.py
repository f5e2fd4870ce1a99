"""Texts that are too long for memory: prepared once, in files that are mapped, and the same batches as in memory."""

import os
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
from gpt.data import sources, tokenizers
from gpt.data.corpus import Text, Tokens
from gpt.data.long_text import LongText
from gpt.data.paths import files_of
from gpt.data.sources import Source
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from tests.conftest import small_corpus, split_text
from tests.extras import require_extra

CONTENT = small_corpus() + "é€😀\n" * 300 + "z" * 5000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PIECE", 1000)  # so that a short text has many


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "long.txt"
    path.write_text(CONTENT)
    return path


SUBWORDS = Tokens("subwords", 300)


def opened(*paths: Path, train_fraction: float = 0.9, tokens: Tokens | None = None) -> LongText:
    return LongText(Source(paths, b"\n"), train_fraction, paths[0].parent / "prepared", tokens or Tokens())


def same(text: Text, content: str, train_fraction: float = 0.9) -> None:
    short = split_text(content, train_fraction)
    assert (text.digest, text.characters, text.lengths()) == (short.digest, short.characters, short.lengths())
    assert list(text.parts()) == list(short.parts())
    tokenizer = CharTokenizer(short.characters)
    for split, ids in short.encoded(tokenizer).items():
        assert torch.equal(text.encoded(tokenizer)[split][:], ids[:])


def test_a_long_text_is_the_text_in_memory(file: Path) -> None:
    for fraction in (0.9, 0.5, 0.9):
        same(opened(file, train_fraction=fraction), CONTENT, fraction)
    described = {path: path.stat().st_mtime_ns for path in file.parent.rglob("text.json")}
    assert len(described) == 2  # one beside the other, and found prepared
    same(opened(file, file), f"{CONTENT}\n{CONTENT}")
    assert described.items() < {path: path.stat().st_mtime_ns for path in file.parent.rglob("text.json")}.items()


@settings(max_examples=25)
@given(content=st.text(min_size=2, max_size=60), fraction=st.floats(0.1, 0.9), size=st.integers(1, 7))
def test_cutting_pieces_and_splits_anywhere_changes_nothing(content: str, fraction: float, size: int) -> None:
    content = "".join(c if c.isprintable() else "\n" for c in content)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(sources, "_PIECE", size)
        path = Path(folder, "text")
        path.write_bytes(content.encode())
        same(opened(path, train_fraction=fraction), content, fraction)


CHINESE = "".join(random.Random(1).choices("的一是不了人我在有他这中大来上个国和也子时道", k=9)) + "。\n"
WRITTEN = [
    CHINESE,
    "日本\u3000語の文章、he's don't 'tis o'clock_x'll re've'd 3.14,159;26½89Ⅷ/79\tनमस्तेदुनिया।फिर, Tie\u0302\u0301ng",
]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("kind", ["subwords", "words", "bytes"])
def test_a_long_text_has_the_tokens_of_one_in_memory(
    kind: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "subwords":
        require_extra("subwords")
    draw = random.Random(2)
    content = "".join(written if draw.random() < 0.5 else written[draw.randrange(len(written)) :] for _ in range(300))
    path, tokens = tmp_path / "text", Tokens(kind, 300)
    path.write_text(content)
    in_memory = replace(split_text(content), tokens=tokens)
    expected = tokenizers.built_for(in_memory)
    for size in (100, 501):
        monkeypatch.setattr(sources, "_PIECE", size)
        text = LongText(Source([path]), 0.9, tmp_path / f"prepared{size}", tokens)
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
    source = Source(files_of(listed), b"\n")
    assert b"".join(source.read(i, i + 1) for i in range(source.size)) == "two é\n\none".encode()
    same(LongText(source, 0.5, tmp_path / "prepared", Tokens()), "two é\n\none", 0.5)


NO_FILE = {"empty": "empty", "*.c": "*.c", "looped": "looped/loop", "[ , ]": "[ , ]", "[a.txt,'']": "[a.txt,'']"}


def test_a_path_to_no_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "looped").mkdir()
    (tmp_path / "looped" / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    for path, word in NO_FILE.items():
        with pytest.raises(RequestError, match=re.escape(word)):
            files_of(path)


def test_a_text_is_prepared_again_once_a_file_has_changed(file: Path) -> None:
    same(opened(file), CONTENT)
    (folder,) = (file.parent / "prepared").iterdir()
    before = {path.name for path in folder.glob("*.ids")}
    (folder / ".x.ids.0123abcd").write_bytes(b"half")
    other = CONTENT[::-1].replace("é", "è")
    file.write_text(other)
    same(opened(file), other)
    after = {path.name for path in folder.iterdir() if ".ids" in path.name}
    assert (len(after), before & after) == (2, set())  # those of the earlier text are gone


def test_another_text_of_equal_size_and_time_is_prepared(file: Path) -> None:
    same(opened(file), CONTENT)
    other, state = CONTENT[::-1], file.stat()
    file.write_text(other)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))  # as cp -p and archives do
    assert file.stat().st_size == state.st_size
    same(opened(file), other)


def test_a_prepared_file_that_was_cut_is_made_again(file: Path) -> None:
    tokenizer = CharTokenizer(CONTENT)
    opened(file).encoded(tokenizer)
    prepared = sorted(path for path in (file.parent / "prepared").rglob("*") if path.is_file() and path.stat().st_size)
    assert len(prepared) == 5
    for path in prepared:
        path.write_bytes(path.read_bytes()[:-1])
        same(opened(file), CONTENT)


def test_what_is_not_text_is_named_with_its_line(file: Path) -> None:
    other = file.with_name("b")
    other.write_bytes(b"y" * 2499 + b"\n\xff" + b"y" * 3000)
    with pytest.raises(RequestError, match=f"{other} .*line 2"):
        _ = opened(file, other).characters


def test_an_unwritable_place_says_how_to_choose_another(file: Path) -> None:
    (file.parent / "prepared").write_text("a file")
    with pytest.raises(UserError, match="GPT_DATA_DIR"):
        opened(file)
