"""What two texts share is found to the token, wherever it is in either."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data import overlap
from gpt.data.overlap import RECITED, recited, shared_tokens


@settings(max_examples=50)
@given(
    passages=st.lists(st.tuples(st.integers(127, 400), st.integers(0, 150)), max_size=4),
    seed=st.integers(0, 10**6),
    reverse=st.booleans(),
)
def test_every_passage_of_another_text_is_counted(passages: list, seed: int, reverse: bool) -> None:
    """Passages with something between them, in this order or the other; no token elsewhere is shared."""
    draw = torch.Generator().manual_seed(seed)
    copied = [torch.randint(0, 50, (length,), generator=draw) for length, _ in passages]
    own, others = [torch.tensor([60])], [torch.tensor([80])]
    for part, (_, gap) in zip(copied, passages, strict=True):
        own += [part, torch.randint(60, 70, (gap + 1,), generator=draw)]
    for part, (_, gap) in zip(copied[::-1] if reverse else copied, passages, strict=True):
        others += [torch.randint(80, 90, (gap + 1,), generator=draw), part]
    assert shared_tokens(torch.cat(own), torch.cat(others)) == sum(map(len, copied))


def test_a_passage_is_followed_from_every_copy_of_its_middle() -> None:
    draw = torch.Generator().manual_seed(1)
    middles, whole = torch.randint(1000, (40, 64), generator=draw), torch.randint(1000, (40, 150), generator=draw)
    whole[:, 43:107] = middles
    apart = torch.randint(1000, (40, 37), generator=draw)
    others = torch.cat([middles.flatten(), torch.cat([whole, apart], dim=1).flatten()])
    assert shared_tokens(whole.flatten(), others) == whole.numel()


def test_nothing_is_shared_by_chance_or_with_nothing_and_long_texts_are_compared_in_parts(monkeypatch) -> None:
    text, other = (torch.randint(0, 4, (20_000,), generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    assert shared_tokens(text, other) == 0
    for few in (0, 63):
        assert shared_tokens(text[:few], text) == shared_tokens(text, text[:few]) == 0
    assert shared_tokens(text, text) == len(text)
    monkeypatch.setattr(overlap, "_AT_ONCE", 128)
    assert shared_tokens(text[1_000:3_003], text) == shared_tokens(text, text[1_000:3_003]) == 2_003


@given(st.text("ab", max_size=60), st.text("ab", min_size=30, max_size=300), st.integers(0, 50))
def test_what_a_sample_recites_is_what_a_search_for_every_passage_finds(own: str, text: str, start: int) -> None:
    sample = own + text[start : start + 25]
    passages = [(i, j) for i in range(len(sample)) for j in range(i, len(sample) + 1) if sample[i:j] in text]
    inside = {at for i, j in passages if j - i >= RECITED for at in range(i, j)}
    count, longest = recited(sample, text)
    assert count == len(inside)
    assert len(longest) == max((j - i for i, j in passages), default=0)
    assert longest in sample
    assert longest in text
