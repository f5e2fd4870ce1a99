"""Decoding with a key-value cache gives the logits of the plain forward pass, and a cache refuses misuse."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gpt.base.ladder import LADDER, OTHERS
from gpt.models.kv_cache import KVCache, active_cache
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.recorded_step import StaticStep, captured, traced
from tests.conftest import build_small

CACHED = [*LADDER[LADDER.index("v7") :], *OTHERS]


def read(model: nn.Module, idx: torch.Tensor, cache: KVCache) -> torch.Tensor:
    with cache.active():
        return model(idx)


def read_in_parts(model: nn.Module, idx: torch.Tensor, first: int, cache: KVCache) -> torch.Tensor:
    """The logits of the `first` tokens at once, then of one token at a time."""
    parts = [idx[:, :first], *(idx[:, t : t + 1] for t in range(first, idx.shape[1]))]
    return torch.cat([read(model, part, cache) for part in parts], dim=1)


@pytest.mark.parametrize("stage", CACHED)
@torch.no_grad()
def test_cached_logits_equal_those_of_the_plain_forward_pass(stage: str) -> None:
    model = build_small(stage)
    idx = torch.randint(65, (3, model.block_size))
    for first in (1, 5, model.block_size):  # so many tokens at once, then one by one
        cache = KVCache(model.block_size)
        logits = read_in_parts(model, idx, first, cache)
        torch.testing.assert_close(logits, model(idx), atol=1e-4, rtol=0)
        assert cache.length == model.block_size


@torch.no_grad()
def test_a_sliding_cache_holds_the_last_window() -> None:
    model = build_small("v8_without_token_shift", n_layer=1)  # a shifted token is from beyond the window
    T = model.block_size
    idx = torch.randint(65, (2, 3 * T))
    cache = KVCache(T, slides=True)
    read(model, idx[:, : T - 3], cache)
    for t in range(T - 3, 3 * T):
        logits = read(model, idx[:, t : t + 1], cache)[:, -1]
        torch.testing.assert_close(logits, model(idx[:, max(0, t + 1 - T) : t + 1])[:, -1], atol=1e-4, rtol=0)


Step = Callable[[torch.Tensor], torch.Tensor]


def check_recorded(model: Any, record: Callable[[nn.Module, KVCache, torch.Tensor], Step], atol: float) -> None:
    """Compare the logits of recorded passes, with some of the model's own between them, with those of the model's."""
    end = model.block_size * (2 if model.slides else 1)
    idx = torch.randint(65, (2, end), device=next(model.parameters()).device)
    plain, other = (KVCache(model.block_size, slides=model.slides) for _ in range(2))
    read(model, idx[:, :3], plain)
    read(model, idx[:, :3], other)
    step_over = record(model, other, idx[:, :1])
    for t in range(3, end):
        new = idx[:, t : t + 1]
        logits = step_over(new) if t % 5 else read(model, new, other)  # one may follow the other
        torch.testing.assert_close(logits, read(model, new, plain), atol=atol, rtol=0)
        assert other.length == plain.length


@pytest.mark.parametrize(
    ("stage", "dtype"), [*((stage, torch.float32) for stage in CACHED), ("v9", torch.bfloat16), ("v9", torch.int8)]
)
@torch.inference_mode()
def test_a_traced_pass_is_the_models_to_the_bit(stage: str, dtype: torch.dtype) -> None:
    check_recorded(packed(build_small(stage).eval(), dtype), traced, atol=0)


@pytest.mark.parametrize("stage", CACHED)
@torch.inference_mode()
def test_a_static_pass_is_the_models(stage: str) -> None:
    """What a CUDA graph repeats, without the graph."""

    def static(model: nn.Module, cache: KVCache, idx: torch.Tensor) -> Step:
        step = StaticStep(model, cache, idx)

        def advance(idx: torch.Tensor) -> torch.Tensor:
            step.prepare(idx)
            cache.length += 1
            return step.run()

        return advance

    check_recorded(build_small(stage).eval(), static, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize("stage", CACHED)
@torch.inference_mode()
def test_a_captured_pass_is_the_models(stage: str, dtype: torch.dtype, atol: float) -> None:
    model = packed(build_small(stage).eval().to("cuda"), dtype)
    check_recorded(model, captured, atol=atol)


@torch.inference_mode()
def test_a_pass_that_decides_by_a_value_is_not_traced() -> None:
    class Deciding(nn.Module):
        def forward(self, idx: torch.Tensor) -> torch.Tensor:
            return idx if idx.sum() > 1 else -idx

    with pytest.raises(ValueError, match="outside tensors"):
        traced(Deciding(), KVCache(8), torch.tensor([[1]]))


@torch.no_grad()
def test_a_cache_can_be_emptied_and_reordered() -> None:
    model = build_small("v7")
    idx, rows = torch.randint(65, (3, 7)), torch.tensor([2, 0, 0])
    cache = KVCache(model.block_size)
    read(model, idx.flip(1), cache)
    cache.length = 0
    torch.testing.assert_close(read(model, idx[:, :6], cache), model(idx[:, :6]))
    cache.reorder(rows)
    torch.testing.assert_close(read(model, idx[rows, 6:], cache)[:, 0], model(idx)[rows, -1])


@torch.no_grad()
def test_a_cache_survives_what_it_refuses() -> None:
    model = build_small("v7")  # with a window of 16
    idx, cache = torch.randint(65, (1, 16)), KVCache(model.block_size)
    with pytest.raises(ValueError, match="17 tokens"):
        cache.append(0, *torch.zeros(2, 1, 4, 17, 8))
    read(model, idx[:, :14], cache)
    with pytest.raises(ValueError, match="empty"):
        read(model, idx[:, 14:], cache)
    with pytest.raises(RuntimeError):
        read(nn.Sequential(model, nn.Linear(1, 1)), idx[:, :1], cache)  # fails after all layers have appended
    assert cache.length == 14
    assert active_cache() is None
    torch.testing.assert_close(read_in_parts(model, idx[:, 14:], 1, cache), model(idx)[:, 14:])
    with pytest.raises(ValueError, match="17 tokens"):
        read(model, idx[:, :1], cache)
