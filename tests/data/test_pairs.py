"""Sentence pairs: their subwords, served once an epoch in batches with little padding."""

import random

import pytest

from tests.extras import require_extra

require_extra("translate")

import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.batch import IGNORED
from gpt.data.corpus import PairCorpus
from gpt.data.pairs import BEGIN, END, UNKNOWN, PairData, Subwords
from gpt.data.vocabulary import PAD


@pytest.fixture(scope="module")
def corpus() -> PairCorpus:
    """Pairs of made-up sentences of 4 to 40 words, the second about as long as the first."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(300)]
    pairs = []
    for _ in range(6_000):
        length = int(draw.lognormvariate(2.5, 0.4)) + 3
        pairs.append(tuple(" ".join(draw.choices(words, k=length + draw.randint(-2, 2))) + "." for _ in range(2)))
    return PairCorpus(pairs[:5_600], pairs[5_600:5_800], pairs[5_800:], vocab_size=2000)


@pytest.fixture(scope="module")
def data(corpus: PairCorpus) -> PairData:
    tokenizer = Subwords.trained_on((line for pair in corpus.train for line in pair), corpus.vocab_size)
    return PairData(corpus, tokenizer, block_size=256, device="cpu")


def test_an_epoch_serves_every_pair_once_with_little_padding(data: PairData, corpus: PairCorpus) -> None:
    batches, tokens, places = [], 0, 0
    while sum(batch.tokens for batch in batches) < data.epoch_tokens:
        batch = data.training_batch(1, len(batches), 1024)
        (source, target), answer = batch.inputs, batch.targets
        is_target = answer != IGNORED
        assert answer.numel() <= 1024
        assert batch.tokens == is_target.sum()
        assert torch.equal(target != PAD, is_target)
        assert (target[:, 0] == BEGIN).all()
        assert torch.equal(target[:, 1:][is_target[:, 1:]], answer[:, :-1][is_target[:, 1:]])
        tokens += int((source != PAD).sum()) + batch.tokens
        places += source.numel() + answer.numel()
        batches.append(batch)
    assert sum(len(batch.targets) for batch in batches) == len(corpus.train)
    assert 1 - tokens / places < 0.1
    again = PairData(corpus, data.tokenizer, block_size=256, device="cpu")
    first, same, other, next_one = (
        one.training_batch(seed, iteration, 512).targets.tolist()
        for one, seed, iteration in ((data, 1, 200), (again, 1, 200), (data, 2, 200), (data, 1, 201))
    )
    assert first == same not in (other, next_one)


def test_an_evaluation_covers_the_split(data: PairData) -> None:
    assert sum(batch.tokens for batch in data.every_target_once("test", 4096)) == data.tokens("test")
    assert sum(batch.tokens for batch in data.estimation_batches("val", 1, 0, 1, 1, 4096)) == data.tokens("val")
    assert sum(len(batch.targets) for batch in data.estimation_batches("train", 1, 0, 1, 1, 4096)) == 200


def test_too_long_pairs_are_left_out_of_training_only(data: PairData, corpus: PairCorpus) -> None:
    short, long = [("ab cd", "ef gh")] * 3, corpus.test[:3]

    def targets(train: list, val: list = short) -> int:
        some = PairCorpus(train, val, short, vocab_size=2000)
        return PairData(some, data.tokenizer, block_size=8, device="cpu").tokens("train")

    assert targets(short + long) == targets(short)
    with pytest.raises(RequestError, match=r"model\.block_size=8"):
        targets(long)
    with pytest.raises(RequestError, match="val split"):
        targets(short, val=long)


def test_characters_that_only_held_out_pairs_have_count_as_unknown(
    data: PairData, corpus: PairCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    odd = PairCorpus(corpus.train[:9], [("á abc", "abc"), ("abc", "abc ñ日")], [("abc", "abc")], corpus.vocab_size)
    (batch,) = PairData(odd, data.tokenizer, block_size=256, device="cpu").every_target_once("val", 1024)
    assert (batch.inputs[0] == UNKNOWN).sum() == 1
    assert (batch.targets == UNKNOWN).sum() == 2
    (message,) = caplog.messages
    assert "3 characters of the val split" in message


@given(st.lists(st.text(st.characters(categories=["L", "P", "N"]), min_size=1), min_size=1))
def test_subwords_restore_the_text(words: list[str]) -> None:
    line = " ".join(words).replace("▁", "_")  # the mark that stands for a space
    tokenizer = Subwords.trained_on([line], 100)
    again = Subwords(tokenizer.vocabulary, tokenizer.merges)
    (ids,) = tokenizer.encode_all([line])
    assert len(tokenizer) <= max(100, 5 + len(set(line)))
    assert tokenizer.decode([BEGIN, *ids, END, *ids, PAD]) == line
    assert again.encode_all([line]) == [ids]


def test_what_is_known_of_a_line_has_no_unknown_token() -> None:
    tokenizer = Subwords.trained_on(["abc def.", "def abc, abc!"] * 20, 100)
    assert tokenizer.known_part("abc,  fed. ") == ("abc,  fed. ", "")
    assert tokenizer.known_part("日 abc 日de本f 日") == ("abc def", "日日本日")
    assert [UNKNOWN in ids for ids in tokenizer.encode_all(["abc def", "日本"])] == [False, True]
    # White space of another kind still separates words:
    assert tokenizer.known_part("abc\tdef\N{NO-BREAK SPACE}abc") == ("abc def abc", "")


def test_a_vocabulary_that_does_not_hold_together_is_refused() -> None:
    for vocabulary, merges in ((["<pad>", "<s>", "</s>", "<unk>", "a"], [("a", "b")]), (["a", "b"], [("a", "")])):
        with pytest.raises(RequestError, match="vocabulary"):
            Subwords(vocabulary, merges)


def test_one_order_of_pairs_is_kept_at_a_time(data: PairData, corpus: PairCorpus) -> None:
    count = data._count(1, 0, 4096) + data._count(1, 1, 4096)
    last = data.training_batch(1, count - 1, 4096)
    fresh = PairData(corpus, data.tokenizer, block_size=256, device="cpu")
    assert torch.equal(fresh.training_batch(1, count - 1, 4096).targets, last.targets)
    assert len(fresh._latest[1]) == fresh._count(1, 1, 4096)
