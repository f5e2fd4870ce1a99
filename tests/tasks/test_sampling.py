"""Sampling: tokens from the right distribution, and the same text for the same seed, with or without a cache."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gpt.base.ladder import LADDER, OTHERS
from gpt.config.command_schemas import SamplingConfig
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.models import v7_dropout
from gpt.tasks.decoding import sampling
from gpt.tasks.decoding.recorded_step import traced
from gpt.tasks.decoding.sampling import choose, default_prompt, generate, penalised, shaped, until
from tests.conftest import build_small
from tests.extras import require_extra


def sample(model: nn.Module, prompt: Tensor, **options: object) -> Tensor:
    steps = generate(model, prompt, **({"tokens": 40, "seed": 1} | options))
    return torch.stack(list(steps), dim=1)  # (num_samples, tokens)


LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])  # probabilities of about 0.644, 0.237, 0.087, 0.032; entropy 0.946


@pytest.mark.parametrize(
    ("options", "left"),
    [
        *[({"temperature": t}, "0123") for t in (1.0, 0.5, 2.0)],
        *[(only, "0") for only in ({"temperature": 0.0}, {"temperature": 1e-30}, {"top_k": 1}, {"top_p": 0.6})],
        ({"top_k": 2}, "01"),
        ({"top_k": 9}, "0123"),
        ({"top_p": 0.7}, "01"),
        ({"top_p": 1.0}, "0123"),
        # Each is of what those before it leave, at every temperature:
        ({"top_k": 2, "top_p": 0.7}, "0"),
        ({"top_k": 2, "top_p": 0.75}, "01"),
        ({"top_k": 1, "top_p": 0.9}, "0"),
        ({"temperature": 1e5, "top_k": 3, "top_p": 0.3}, "0"),
        ({"temperature": 1e30, "top_k": 3, "top_p": 0.7}, "012"),
        *[({"min_p": m}, left) for m, left in ((0.0, "0123"), (0.1, "012"), (0.2, "01"), (0.4, "0"), (1.0, "0"))],
        ({"temperature": 1e6, "min_p": 0.4}, "0123"),
        # The second token is as surprising as the entropy, and the first less so, 0.49 and 0.51 from it:
        *[({"typical_p": x}, left) for x, left in ((1e-50, "1"), (0.2, "1"), (0.3, "01"), (0.9, "012"), (1.0, "0123"))],
    ],
)
def test_tokens_are_drawn_from_what_the_options_leave(options: dict, left: str) -> None:
    """Over an even grid of draws."""
    draws = (torch.arange(10_000) + 0.5) / 10_000
    chosen = choose(LOGITS.expand(10_000, 4), draws, SamplingConfig(**options))
    p = (LOGITS[0] / max(options.get("temperature", 1.0), 1e-9)).softmax(0)
    p[[i for i in range(4) if str(i) not in left]] = 0
    assert (chosen.bincount(minlength=4) / 10_000).tolist() == pytest.approx((p / p.sum()).tolist(), abs=1e-3)


def test_survivors_and_the_penalty_are_those_of_transformers() -> None:
    require_extra("transformers")
    import transformers

    warpers = {
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
        "min_p": transformers.MinPLogitsWarper,
        "typical_p": transformers.TypicalLogitsWarper,
    }
    torch.manual_seed(0)
    logits, context = torch.randn(30, 20), torch.randint(20, (30, 9))
    alone = [{name: value} for name in warpers for value in ((3, 12) if name == "top_k" else (0.05, 0.3, 0.9))]
    for options in [*alone, {"top_k": 9, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.6}]:
        expected = logits
        for name, value in options.items():
            expected = warpers[name](value)(context, expected)
        p, ids = shaped(logits, SamplingConfig(**options))
        assert torch.equal(torch.zeros_like(p).scatter(-1, ids, p) > 0, expected.isfinite()), options
    expected = transformers.RepetitionPenaltyLogitsProcessor(1.3)(context, logits)
    torch.testing.assert_close(penalised(logits, context, 1.3), expected)


def test_a_penalty_makes_a_model_say_other_things() -> None:
    model, prompt = build_small("v2"), torch.tensor([1, 2, 3])
    plain, same, other = (sample(model, prompt, temperature=0.0, repetition_penalty=x)[0] for x in (None, 1.0, 100.0))
    assert torch.equal(plain, same)
    assert len(other.unique()) > len(plain.unique())


STOP = st.text("abc", min_size=1, max_size=4)


@given(st.lists(st.text("abc", max_size=3), max_size=12), STOP | st.lists(STOP, min_size=1, max_size=3))
def test_a_text_ends_before_the_first_string_that_stops_it(pieces: list[str], stop: str | list[str]) -> None:
    text, stops = "".join(pieces), [stop] if isinstance(stop, str) else stop
    ended = min((text.partition(each)[0] for each in stops), key=len)
    said = ""
    for count, piece in enumerate(until(stop, pieces), start=1):
        said += piece
        assert ended.startswith(said)
        so_far = "".join(pieces[:count])
        waiting = so_far.removeprefix(said)  # no longer than necessary
        assert not waiting or any(each.startswith(waiting) or waiting.startswith(each) for each in stops)
    assert said == ended
    assert "".join(until(None, pieces)) == text


SHARE = st.none() | st.floats(0, 1, exclude_min=True)


@given(
    logits=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=70),
    uniform=st.floats(0, 1, exclude_max=True),
    options=st.fixed_dictionaries(
        {"temperature": st.floats(0, 100)},
        optional={"top_k": st.integers(1, 80), "top_p": SHARE, "min_p": SHARE, "typical_p": SHARE},
    ),
)
def test_a_token_of_probability_zero_is_never_chosen(logits: list[float], uniform: float, options: dict) -> None:
    row, temperature = torch.tensor([logits]), options["temperature"]
    chosen = int(choose(row, torch.tensor([uniform]), SamplingConfig(**options)))
    if temperature > 1e-30:
        assert ((row - row.max()) / temperature).softmax(-1)[0, chosen] > 0
    else:
        assert row[0, chosen] == row.max()
    if "top_k" in options:
        assert (row > row[0, chosen]).sum() < options["top_k"]


@pytest.mark.parametrize("stage", [*LADDER, *OTHERS])
def test_every_stage_generates_past_its_window(stage: str) -> None:
    model = build_small(stage)
    for prompt_length in (1, model.block_size - 1, model.block_size, 3 * model.block_size):
        ids = sample(model, torch.randint(65, (prompt_length,)), num_samples=2)
        assert ids.shape == (2, 40)
        assert ((ids >= 0) & (ids < 65)).all()


def test_a_seed_fixes_the_text_for_any_number_of_samples() -> None:
    model, prompt = build_small("v7"), torch.tensor([1, 2])
    one, four = sample(model, prompt), sample(model, prompt, num_samples=4)
    assert torch.equal(one, sample(model, prompt))
    assert torch.equal(one[0], four[0])
    assert len({tuple(row) for row in four.tolist()}) == 4
    assert not torch.equal(one, sample(model, prompt, seed=2))


@pytest.mark.parametrize("stage", ["v7", "v8", "gru"])
def test_traced_steps_do_not_change_a_long_text(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts, recorded = build_small(stage), [], []
    monkeypatch.setattr(sampling, "traced", lambda *given: recorded.append(given) or traced(*given))
    for many in ({"cpu": 200}, {"cpu": 201}):
        monkeypatch.setattr(sampling, "_MANY", many)
        texts.append(sample(model, torch.tensor([1, 2]), tokens=200, num_samples=3))
    assert len(recorded) == 1
    assert torch.equal(*texts)


def test_a_stage_that_cannot_be_traced_generates_all_the_same() -> None:
    class Deciding(v7_dropout.GPT):
        def forward(self, idx: Tensor) -> Tensor:
            return super().forward(idx if idx.sum() > 30 else idx + 1)

    assert sample(Deciding(65, 16, 8, 2, 1, 0.0), torch.tensor([1, 2]), tokens=250).shape == (1, 250)


def halved(ids: list[int]) -> list[int]:
    """Of v7's cache of 16: when it is full, its newer half is read again, 8 tokens and the newest."""
    return ids if len(ids) <= 16 else halved(ids[9:])


@pytest.mark.parametrize(("stage", "window"), [("v5", lambda ids: ids[-8:]), ("v7", halved)])
def test_greedy_text_follows_the_forward_pass_over_its_window(stage: str, window: Callable) -> None:
    model, ids = build_small(stage), [3, 1, 4]
    found = sample(model, torch.tensor(ids), temperature=0.0)[0].tolist()
    for _ in range(40):
        ids.append(int(model(torch.tensor([window(ids)]))[0, -1].argmax()))
    assert found == ids[3:]


def test_a_sample_begins_with_a_line_end_or_first_character() -> None:
    assert [default_prompt(CharTokenizer(vocabulary)) for vocabulary in ("cab", "cab\n")] == ["a", "\n"]
