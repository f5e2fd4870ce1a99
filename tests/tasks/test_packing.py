"""Packing: a model for reading only, which computes what the model computed as it was."""

import pytest
import torch
from torch import Tensor, nn

from gpt.models.kv_cache import KVCache
from gpt.tasks.decoding import packing
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.tasks.decoding.tracing import traced
from tests.conftest import build, build_small


def greedy(model: nn.Module, prompt: Tensor) -> Tensor:
    return torch.cat(list(generate(model, prompt, tokens=100, temperature=0.0, seed=1)))


@torch.no_grad()
def test_packing_changes_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """At v7's width, where layers are packed; their products differ in the last bits at most."""
    monkeypatch.setattr(packing, "_is_intel", lambda: False)
    model = build("v7", n_layer=2)
    prompt = torch.tensor([3, 1, 4])
    plain = greedy(model, prompt)
    idx = torch.randint(65, (2, 20))
    logits = model(idx)
    packed(model, torch.float32)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    torch.testing.assert_close(model(idx), logits, atol=1e-5, rtol=0)
    assert torch.equal(greedy(model, prompt), plain)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0.1), (torch.int8, 0.05)])
@torch.no_grad()
def test_lower_precision_is_close(dtype: torch.dtype, atol: float) -> None:
    model = build("v7", n_layer=2)
    idx = torch.randint(65, (2, 20))
    logits = model(idx)
    packed(model, dtype)
    torch.testing.assert_close(model(idx).float(), logits, atol=atol, rtol=0)
    steps = list(generate(model, idx[0], tokens=40, num_samples=3, seed=1))
    assert torch.stack(steps).shape == (40, 3)
    assert not (dtype is torch.int8 and any(isinstance(module, nn.Linear) for module in model.modules()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@torch.inference_mode()
def test_a_packed_model_is_traced(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_is_intel", lambda: False)
    model = packed(build("v7", n_layer=2), dtype)
    cache = KVCache(model.block_size)
    idx = torch.tensor([[3]])
    with cache.active():
        model(idx)
    found = traced(model, cache, idx)(idx)
    cache.length -= 1
    with cache.active():
        assert torch.equal(found, model(idx))


@torch.no_grad()
def test_weights_of_zero_stay_zero_in_int8() -> None:
    model = build_small("v5")
    model.lm_head.weight.zero_()
    bias = model.lm_head.bias.expand(1, 2, -1)
    assert torch.equal(packed(model, torch.int8)(torch.tensor([[1, 2]])), bias)


@torch.no_grad()
def test_a_stage_that_reads_counts_is_converted_too() -> None:
    model = build_small("v9")
    model.remember(torch.randint(65, (500,)))
    packed(model, torch.bfloat16)
    assert len(list(generate(model, torch.tensor([3, 1]), tokens=5, seed=1))) == 5


def test_small_models_and_float32_on_intels_processors_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_is_intel", lambda: True)
    for model in (build_small("v5"), build("v7", n_layer=2)):
        assert packed(model, torch.float32) is model
        assert any(isinstance(module, nn.Linear) for module in model.modules())


@torch.no_grad()
def test_without_onednn_a_model_is_only_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = build("v7", n_layer=2)
    idx = torch.randint(65, (2, 20))
    logits = model(idx)
    assert torch.equal(packed(model, torch.float32)(idx), logits)
    assert any(isinstance(module, nn.Linear) for module in model.modules())
