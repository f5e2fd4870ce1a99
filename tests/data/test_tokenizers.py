"""Tokenizers: every text is encoded and decoded without loss, and what is generated is Unicode."""

import hashlib
import json
import random
import re
import unicodedata
from pathlib import Path

import pytest

from tests.extras import require_extra

require_extra("subwords")

import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from gpt.base.errors import RequestError, UserError
from gpt.data import corpora, download, tokenizers
from gpt.data.byte_level import BYTES, ByteLevel, imported_library, library_tokenizer
from gpt.data.corpus import TextCorpus, Tokens
from gpt.data.long_text import LongText
from gpt.data.sources import Source
from gpt.data.tokenizers.bytes import ByteTokenizer
from gpt.data.tokenizers.characters import CharTokenizer, lacking
from gpt.data.tokenizers.gpt2 import GPT2Subwords
from gpt.data.tokenizers.subwords import LONGEST_WORD, BytePairs
from gpt.data.tokenizers.words import Words
from gpt.data.vocabulary import Vocabulary, parts_of
from tests.conftest import small_corpus, split_text

CONTENT = "\n".join([small_corpus(), "naïve café, 東京\u3000は夜, 😀 \r\n\t  don't we'll 1234 " * 20, "x" * 3000])
SUBWORDS = BytePairs.trained_on([CONTENT], 400)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), SUBWORDS], ids=["bytes", "subwords"])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    surrogates=st.text(st.characters(categories=["Cs"])),
    numbers=st.lists(st.integers(0, 255)),
)
def test_every_text_is_decoded_to_what_it_was(
    tokenizer: ByteLevel, text: str, surrogates: str, numbers: list[int]
) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.sizes[ids].sum(dim=0).tolist() == [len(text), len(text.encode())]
    assert tokenizer.without_unknown(text) == (text, "")
    tokenizer.encode(text + surrogates)  # unpaired ones are no error
    generated = [number * len(tokenizer) // 256 for number in numbers]
    pieces = "".join(tokenizer.pieces(generated))
    joined = b"".join(tokenizer._bytes[i] for i in generated)
    assert pieces == tokenizer.decode(torch.tensor(generated)) == joined.decode(errors="replace")
    pieces.encode()  # would fail for surrogates


def test_a_character_is_shown_once_its_last_byte_has_come() -> None:
    assert list(ByteTokenizer().pieces([0x61, 0xE2, 0x82, 0xAC, 0xE2])) == ["a", "", "", "€", "", "\ufffd"]
    assert ByteTokenizer().shown[0xE2] == "<0xE2>"
    content = b"a\xff\xe2\x82b"
    assert ByteTokenizer().encode(content.decode(errors="surrogateescape")).tolist() == list(content)


def test_a_damaged_vocabulary_is_one_line() -> None:
    for kind, vocabulary, merges in (
        ("subwords", SUBWORDS.vocabulary[1:], SUBWORDS.merges),  # a byte is missing
        ("subwords", [*SUBWORDS.vocabulary, "東"], SUBWORDS.merges),
        ("subwords", SUBWORDS.vocabulary, [("nowhere", "else")]),
        ("characters", "ba", None),  # not in order: the model's rows would belong to other characters
    ):
        with pytest.raises(UserError, match=r"^.*vocabulary.*\Z"):
            tokenizers.restored(Vocabulary(kind=kind, vocabulary=vocabulary, merges=merges, corpus=""))


def test_subwords_are_learned_from_the_training_split_and_restored() -> None:
    learned = tokenizers.built_for(TextCorpus("ab" * 100, "zq" * 100, tokens=Tokens("subwords", 260)))
    assert "abab" in learned.shown
    assert not any("zq" in token for token in learned.shown)
    for tokenizer in (learned, ByteTokenizer()):
        kept = Vocabulary(kind=tokenizer.kind, vocabulary=tokenizer.vocabulary, merges=tokenizer.merges, corpus="")
        restored = tokenizers.restored(Vocabulary.model_validate_json(kept.model_dump_json()))
        assert (type(restored), restored.name) == (type(tokenizer), tokenizer.name)
        assert torch.equal(restored.encode(CONTENT), tokenizer.encode(CONTENT))


@settings(max_examples=30)
@given(words=st.lists(st.text(min_size=1, max_size=60), max_size=20), space=st.sampled_from([" ", "\n\n", "\u3000"]))
def test_subwords_are_learned_from_the_words_of_gpt2(words: list[str], space: str) -> None:
    text = space.join(words).encode(errors="replace").decode()
    expected, library = library_tokenizer([], []), imported_library()
    trainer = library.trainers.BpeTrainer(vocab_size=280, initial_alphabet=sorted(BYTES), show_progress=False)
    expected.train_from_iterator([text], trainer)
    vocabulary, merges = parts_of(json.loads(expected.to_str()))
    learned = BytePairs.trained_on([text], 280)
    assert (learned.vocabulary, learned.merges) == (vocabulary, merges)


def test_one_long_word_is_learned_in_parts() -> None:
    """Learning from it whole would take time quadratic in its length."""
    text = "".join(random.Random(1).choices("ACGT", k=100_000))
    tokenizer = BytePairs.trained_on([text], 1000)
    assert len(tokenizer.encode(text)) < len(text) / 2
    assert max(map(len, tokenizer.vocabulary)) <= LONGEST_WORD


def test_the_tokens_of_tiktoken_are_those_of_tiktoken() -> None:
    ranks = {bytes(SUBWORDS._bytes[i]): i for i in range(len(SUBWORDS))}
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    special = {"<|endoftext|>": len(ranks)}
    encoding = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    tokenizer = GPT2Subwords.of_tiktoken(encoding)
    assert len(tokenizer) == encoding.n_vocab
    assert tokenizer.encode(CONTENT).tolist() == encoding.encode(CONTENT)


def test_any_file_has_bytes_but_only_text_has_characters(tmp_path: Path) -> None:
    content = b"caf\xe9 " * 1000
    (tmp_path / "latin1").write_bytes(content)
    source = Source([tmp_path / "latin1"], errors="surrogateescape")
    long = LongText([source], tmp_path / "prepared", Tokens("bytes"), 0.5)
    encoded = long.encoded(tokenizers.built_for(long))
    assert b"".join(bytes(ids[:].tolist()) for ids in encoded.values()) == content
    memory = split_text(content.decode(errors="surrogateescape"), 0.5)
    assert long.lengths() == memory.lengths()
    assert (long.is_utf8, memory.is_utf8) == (False, False)
    with pytest.raises(RequestError, match=r"latin1 .*line 1"):
        LongText([Source([tmp_path / "latin1"])], tmp_path / "prepared", Tokens("characters"), 0.5)


def test_splits_of_a_benchmark_are_cut_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "aé€z".encode()
    (tmp_path / "text8").write_bytes(content)
    monkeypatch.setitem(download._MAHONEY_MD5, "text8", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(corpora, "_MAHONEY_ENDS", (2, 5, 7))
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path))
    as_bytes, as_characters = (corpora.text8(str(tmp_path), kind, 1000) for kind in ("bytes", "characters"))
    found = as_bytes.encoded(ByteTokenizer())
    assert [bytes(ids[:].tolist()) for ids in found.values()] == [b"a\xc3", b"\xa9\xe2\x82", b"\xacz"]
    assert list(as_characters.parts()) == ["a", "", "z"]  # without the characters that are cut


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_characters_and_words_restore_their_text(text: str) -> None:
    for tokenizer in (CharTokenizer(text), Words.trained_on([f"{text} {text}", "what others say"], 300)):
        ids = tokenizer.encode(text)
        assert ids.dtype == torch.int64
        assert tokenizer.decode(ids) == text
    assert sorted(set(CharTokenizer(text).encode(text).tolist())) == list(range(len(set(text))))  # every id is used


@pytest.mark.parametrize("text", ["नमस्ते दुनिया, फिर मिलेंगे", unicodedata.normalize("NFD", "Tiếng Việt, học đường")])
def test_a_word_keeps_its_combining_marks(text: str) -> None:
    tokenizer = Words.trained_on([text], 300)
    words = [word for word in re.split("(,)|(?= )", text) if word]
    assert [tokenizer.vocabulary[i] for i in tokenizer.encode(text)] == words
    assert Tokenizer.from_str(tokenizer.as_json()).encode(text).tokens == words


def test_unknown_characters_are_named_up_to_ten() -> None:
    with pytest.raises(RequestError) as error:
        CharTokenizer("abc").encode("aüébüü")
    assert "'ü' (U+00FC) and 'é' (U+00E9)" in str(error.value)
    assert "'abc'" in str(error.value)
    with pytest.raises(RequestError, match="9,803 more") as error:
        CharTokenizer("abc" + "".join(map(chr, range(0x4E00, 0x7510)))).encode("d")
    assert len(str(error.value)) < 300
    assert "'é' (U+00E9)" in lacking("é")
    assert "'j' (U+006A) and 3 more" in lacking("abcdefghijklm")


def test_frequent_words_and_all_characters_are_tokens() -> None:
    corpus = TextCorpus("the cat, the dog, the cow\n" * 9 + "a cat", "the zebras é", tokens=Tokens("words", 256))
    found = tokenizers.built_for(corpus)
    assert found.vocabulary == [*"\n ,acdeghotw", " the", " cat", "the", " dog", " cow", *"brszé"]
    ids = found.encode("the cats, the zebra")
    assert [found.vocabulary[i] for i in ids] == ["the", *" cats,", " the", *" zebra"]
    assert found.sizes[ids].sum(dim=0).tolist() == [19, 19]
    few = tokenizers.built_for(TextCorpus(corpus.train, corpus.val, tokens=Tokens("words", 14)))
    assert few.vocabulary == [*"\n ,acdeghotw", " the", " cat", *"brszé"]
    with pytest.raises(RequestError, match="'§'"):
        found.encode("the §")
