"""Packing: a model for reading only, which computes what the model computed as it was."""

import pytest
import torch
from torch import Tensor, nn

from gpt.data.batch import Batch
from gpt.models.kv_cache import KVCache
from gpt.tasks.decoding import packing
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.recorded_step import traced
from gpt.tasks.decoding.sampling import generate
from gpt.training.gradient_tape import RecordedGradient
from gpt.training.objectives import Autograd, Objective
from tests.conftest import CPU, build, build_small


def greedy(model: nn.Module, prompt: Tensor) -> Tensor:
    return torch.cat(list(generate(model, prompt, tokens=100, temperature=0.0, seed=1)))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1), (torch.int8, 0.05)])
@torch.inference_mode()
def test_a_packed_model_keeps_its_logits_and_can_be_traced(
    dtype: torch.dtype, atol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At v7's width, where layers are packed; in float32, the products differ in the last bits at most."""
    monkeypatch.setattr(packing, "is_intel", lambda: False)
    model, cache, idx = build("v7", n_layer=2), KVCache(256), torch.randint(65, (1, 20))
    logits, text = model(idx), greedy(model, idx[0])
    packed(model, dtype)
    torch.testing.assert_close(model(idx).float(), logits, atol=atol, rtol=0)
    assert torch.equal(greedy(model, idx[0]), text) or dtype is not torch.float32
    assert dtype is torch.bfloat16 or not any(isinstance(module, nn.Linear) for module in model.modules())
    with cache.active():
        model(idx)
    found = traced(model, cache, idx[:, :1])(idx[:, :1])
    cache.length -= 1
    with cache.active():
        assert torch.equal(found, model(idx[:, :1]))


@pytest.mark.parametrize(
    "changed", [(packing, "is_intel", lambda: True), (torch.backends.mkldnn, "is_available", lambda: False)]
)
def test_models_that_gain_nothing_are_not_packed(changed: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "is_intel", lambda: False)
    assert packed(build_small("v5"), torch.float32).lm_head.__class__ is nn.Linear
    monkeypatch.setattr(*changed)
    assert packed(build("v7", n_layer=2), torch.float32).lm_head.__class__ is nn.Linear


@torch.no_grad()
def test_a_packed_model_with_counts_generates() -> None:
    counting = build_small("v9")
    counting.remember(torch.randint(65, (500,)))
    packed(counting, torch.bfloat16)
    assert len(list(generate(counting, torch.tensor([3, 1]), tokens=5, seed=1))) == 5


@torch.no_grad()
def test_weights_of_zero_stay_zero_in_int8() -> None:
    model = build_small("v5")
    model.lm_head.weight.zero_()
    bias = model.lm_head.bias.expand(1, 2, -1)
    assert torch.equal(packed(model, torch.int8)(torch.tensor([[1, 2]])), bias)


def raising(_: object, name: str) -> object:
    raise RuntimeError(name)


@pytest.mark.parametrize("inside", [{}, {"__getattr__": raising}])
def test_without_torchscript_steps_and_characters_are_computed_without_a_recording(
    inside: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "is_intel", lambda: False)
    large, prompt = packed(build("v7", n_layer=2), torch.float32), torch.tensor([1])
    batch = Batch.full(*torch.randint(65, (2, 4, 8)))

    def computed() -> list[Tensor]:
        model = build_small("v5").train()
        gradient = RecordedGradient(model, Autograd(Objective(), CPU))
        losses = [gradient(model, batch, 1.0) for _ in range(4)]
        return [greedy(large, prompt), *losses, *(p.grad for p in model.parameters())]

    expected = computed()
    inside = inside | {"is_scripting": staticmethod(lambda: False)}  # which PyTorch itself asks
    monkeypatch.setattr(torch, "jit", type("Jit", (), inside)())
    assert all(map(torch.equal, computed(), expected))
