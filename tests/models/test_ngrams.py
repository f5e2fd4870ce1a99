"""n-gram probabilities are those of counting by hand, without the part of the text that a window is from."""

import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.base.errors import RequestError, UserError
from gpt.models.kv_cache import KVCache
from gpt.models.ngrams import NGrams
from tests.conftest import build_small
from tests.models.test_kv_cache import read_in_parts

DISCOUNT, PARTS, RECENT = 0.85, 10, 6


def by_hand(
    text: list[int], before: list[int], window: list[int], order: int, V: int, own: int | None
) -> tuple[list[list[float]], list[int]]:
    """The distributions after the last 1 .. order tokens of a window, and how often these were counted.

    What is in part `own` of the text is left out; what is in the window, after `before`, counts six times.
    """
    p = [(text.count(token) + 1) / (len(text) + V) for token in range(V)]
    context = before + window
    result, totals = [], []
    for k in range(1, order + 1):
        counts = [0] * V
        if len(context) >= k:
            for end in range(k - 1, len(text) - 1):
                if text[end - k + 1 : end + 1] == context[-k:] and end * PARTS // len(text) != own:
                    counts[text[end + 1]] += 1
            for end in range(max(k - 1, len(before)), len(context) - 1):
                if context[end - k + 1 : end + 1] == context[-k:]:
                    counts[context[end + 1]] += RECENT
        total = sum(counts)
        if total:
            left = sum(min(count, DISCOUNT) for count in counts) / total
            p = [max(count - DISCOUNT, 0) / total + left * low for count, low in zip(counts, p, strict=True)]
        result.append(p)
        totals.append(total)
    return result, totals


@settings(deadline=None, max_examples=60)
@given(data=st.data(), V=st.integers(1, 4), order=st.integers(1, 4))
def test_probabilities_are_those_of_counting_by_hand(data: st.DataObject, V: int, order: int) -> None:
    text = data.draw(st.lists(st.integers(0, V - 1), min_size=1, max_size=60))
    ngrams = NGrams(V, order, window=8, size=100)
    ngrams.remember(torch.tensor(text))
    start = data.draw(st.integers(0, len(text) - 1))
    window = text[start : start + 8]
    T = len(window)
    for starts in (None, torch.tensor([start])):
        p, total = (result[0] for result in ngrams(torch.tensor([window]), starts))  # (T, order, V), (T, order)
        for t in range(T):
            own = None if starts is None else (start + t) * PARTS // len(text)
            before = [] if starts is None else text[:start]  # training windows are read on from the text before them
            expected, counted = by_hand(text, before, window[: t + 1], order, V, own)
            torch.testing.assert_close(p[t], torch.tensor(expected), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(p[t].sum(dim=-1), torch.ones(order), atol=1e-5, rtol=0)
            assert total[t].tolist() == counted


def test_of_a_long_text_the_beginning_is_remembered() -> None:
    short, long = NGrams(3, 2, window=8, size=6), NGrams(3, 2, window=8, size=6)
    text, context = torch.tensor([0, 1, 2, 0, 1, 1, 2, 2, 2, 2]), torch.tensor([[0, 1]])
    short.remember(text[:6])
    long.remember(text)
    assert torch.equal(short(context)[0], long(context)[0])
    beyond, _ = long(context, torch.tensor([8]))  # a window from what is not remembered leaves nothing out
    assert torch.equal(beyond, long(context)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_text_in_memory_is_remembered_on_a_gpu() -> None:
    text, context = torch.arange(50) % 3, torch.tensor([[0, 1, 2, 2]])
    here, there = NGrams(3, 2, window=8, size=50), NGrams(3, 2, window=8, size=50).to("cuda")
    here.remember(text)
    there.remember(text)
    for start in (None, torch.tensor([4])):
        found, _ = there(context.to("cuda"), None if start is None else start.to("cuda"))
        torch.testing.assert_close(found.cpu(), here(context, start)[0])


def test_what_is_remembered_is_saved_and_loaded() -> None:
    model, other = build_small("v9", ngrams=3, memory=50), build_small("v9", ngrams=3, memory=50)
    model.remember(torch.randint(65, (40,)))
    other.remember(torch.randint(65, (50,)))
    idx = torch.randint(65, (2, 9))
    assert not torch.equal(model(idx), other(idx))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(idx), other(idx))


@pytest.mark.parametrize(("V", "order", "N"), [(5000, 5, 250_000), (18_000, 1, 19_000)])
def test_a_table_far_too_large_is_refused_before_it_exists(V: int, order: int, N: int) -> None:
    counts = NGrams(V, order, window=8, size=N)
    counts.memory.copy_(torch.randint(V, (N,), generator=torch.Generator().manual_seed(0)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for what in (counts.table_bytes, lambda: counts(torch.zeros(1, 1, dtype=torch.int64))):
        with pytest.raises(RequestError, match=f"ngrams={order}"):
            what()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200


def test_windows_whose_counts_alone_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="1048576"):
        NGrams(65, 3, window=2**20, size=100)


def test_what_is_remembered_must_be_in_the_vocabulary() -> None:
    model = build_small("v9", ngrams=3, memory=50)
    for token in (65, -2):
        state = model.state_dict() | {"ngrams.memory": torch.full((50,), token, dtype=torch.int16)}
        with pytest.raises(UserError, match="65"):
            model.load_state_dict(state)


@torch.no_grad()
def test_cached_counts_look_back_beyond_the_new_tokens() -> None:
    model = build_small("v9", ngrams=4, memory=200)
    model.remember(torch.arange(200) % 7)
    idx = torch.arange(12)[None] % 7
    logits = read_in_parts(model, idx, 5, KVCache(model.block_size, slides=True))
    torch.testing.assert_close(logits, model(idx), atol=1e-4, rtol=1e-5)
