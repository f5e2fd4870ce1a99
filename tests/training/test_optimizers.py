"""Each optimizer makes PyTorch's steps, and a step that is skipped changes nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gpt.base.runtime import has_bfloat16
from gpt.training.optimizers import Optimizer, has_nonfinite, orthogonalised
from tests.conftest import build_small
from tests.training.helpers import OPTIMIZERS, bits, small_optimizer

KEEP, SKIP = torch.zeros(()), torch.ones(())


def random_gradients(*models: nn.Module) -> None:
    """The same gradients for all models, of sizes from 1e-5 to 1e3."""
    for parameters in zip(*(model.parameters() for model in models), strict=True):
        gradient = torch.randn_like(parameters[0]) * 10 ** torch.empty(()).uniform_(-5, 3)
        for parameter in parameters:
            parameter.grad = gradient.clone()


def steps(optimizer: Optimizer, count: int, *models: nn.Module, **groups: torch.optim.Optimizer) -> None:
    """`count` steps of ours, and of PyTorch's optimizer of each group, at falling learning rates."""
    for iteration in range(count):
        random_gradients(*models)
        rates = {group: peak / (1 + iteration) for group, peak in optimizer.peaks.items()}
        optimizer.step(rates, KEEP)
        for name, theirs in groups.items():
            for parameters in theirs.param_groups:
                parameters["lr"] = rates[name]
            theirs.step()


def counted(optimizer: Optimizer) -> list[int]:
    """The steps that each AdamW in it has counted."""
    return [int(tensor) for name, tensor in optimizer.state.items() if name.startswith("steps.")]


def pytorch_adamw(parameters: list[nn.Parameter], weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def test_adamw_is_that_of_pytorch_bit_for_bit() -> None:
    ours, theirs = build_small("v6"), build_small("v6")
    optimizer = small_optimizer(ours, "adamw", weight_decay=0.1, beta1=0.8, beta2=0.95)
    steps(optimizer, 20, ours, theirs, all=pytorch_adamw(list(theirs.parameters()), 0.1, (0.8, 0.95)))
    assert bits(ours.state_dict()) == bits(theirs.state_dict())
    assert counted(optimizer) == [20]


def test_muon_is_that_of_pytorch_with_adamw_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Nesterov momentum, its weight decay, and its learning rate, which depends on a matrix's shape."""
    monkeypatch.setattr("gpt.training.optimizers.has_bfloat16", lambda _: True)  # PyTorch's is always in bfloat16
    ours, theirs = build_small("v6"), build_small("v6")
    own = {"matrix_weight_decay": 0.2, "momentum": 0.5}
    optimizer = small_optimizer(ours, "muon", **own, weight_decay=0.1, beta1=0.8, beta2=0.95)
    names = {name.removeprefix("momentum.") for name in optimizer.state if name.startswith("momentum.")}
    matrices = [p for name, p in theirs.named_parameters() if name in names]
    others = [p for name, p in theirs.named_parameters() if name not in names]
    assert {p.shape[0] > p.shape[1] for p in matrices} == {True, False}  # tall and wide ones
    muon = torch.optim.Muon(matrices, momentum=0.5, weight_decay=0.2, nesterov=True)
    steps(optimizer, 20, ours, theirs, matrices=muon, others=pytorch_adamw(others, 0.1, (0.8, 0.95)))
    # Without instructions for bfloat16, PyTorch rounds several products at once otherwise than one by one.
    closely = {"atol": 1e-6, "rtol": 1e-5} if has_bfloat16(torch.device("cpu")) else {"atol": 1e-4, "rtol": 1e-5}
    for name, a in ours.named_parameters():
        b = theirs.get_parameter(name)
        if name in names:
            torch.testing.assert_close(a, b, **closely)
        else:
            assert torch.equal(a, b), name


@settings(max_examples=30)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 2**31), size=st.integers(-6, 6))
def test_an_orthogonalised_matrix_moves_every_direction_about_equally_far(
    rows: int, columns: int, seed: int, size: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=draw)).Q
    right = torch.linalg.qr(torch.randn(columns, columns, generator=draw)).Q
    smaller = min(rows, columns)
    values = torch.empty(smaller).uniform_(0.2, 1, generator=draw) * 10.0**size
    matrix = left[:, :smaller] * values @ right[:smaller]
    result = orthogonalised(matrix[None])[0].float()
    assert result.shape == matrix.shape
    singular = torch.linalg.svdvals(result)
    assert singular.min() > 0.5
    assert singular.max() < 1.4
    closest = left[:, :smaller] @ right[:smaller]
    assert (result * closest).sum() / smaller > 0.6  # in the same directions, and not in the opposite ones
    assert torch.equal(orthogonalised(torch.zeros(1, rows, columns)).float(), torch.zeros(1, rows, columns))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_skipped_step_changes_nothing_bit_for_bit(name: str) -> None:
    model = build_small("v6")
    changes = {"weight_decay": 0.1} | ({"matrix_weight_decay": 0.1} if name == "muon" else {})
    optimizer = small_optimizer(model, name, **changes)
    steps(optimizer, 1, model)
    before = bits(model.state_dict() | optimizer.state)
    for value in (math.nan, math.inf, 1.0):
        random_gradients(model)
        for p in model.parameters():
            p.grad.view(-1)[0] = value
        optimizer.step(optimizer.peaks, SKIP)
        assert bits(model.state_dict() | optimizer.state) == before
    steps(optimizer, 1, model)
    after = bits(model.state_dict() | optimizer.state)
    assert all(after[key] != before[key] for key in before)


def decayed(stage: str, name: str, **changes: float) -> set[str]:
    """The parameters that a step without a gradient and with a large weight decay makes smaller."""
    model = build_small(stage)
    for p in model.parameters():
        p.data.fill_(1.0)
        p.grad = torch.zeros_like(p)
    optimizer = small_optimizer(model, name, 0.1, **changes)
    optimizer.step(optimizer.peaks, KEEP)
    shrunk = {name for name, p in model.named_parameters() if (p < 1).all()}
    assert all((p == 1).all() for name, p in model.named_parameters() if name not in shrunk)
    return shrunk


@pytest.mark.parametrize("stage", ["v7", "transformer"])
def test_only_matrices_decay_whichever_optimizer_moves_them(stage: str) -> None:
    matrices = {name for name, p in build_small(stage).named_parameters() if p.dim() == 2}
    assert not any("norm" in name or "bias" in name for name in matrices)
    assert decayed(stage, "adamw", weight_decay=0.5) == matrices
    outside = ("embedding", "lm_head", "output", "table")
    of_muon = {name for name in matrices if not any(part in name for part in outside)}
    assert decayed(stage, "muon", weight_decay=0.0, matrix_weight_decay=0.5) == of_muon
    assert decayed(stage, "muon", weight_decay=0.5, matrix_weight_decay=0.0) == matrices - of_muon


def test_the_public_adamw_agrees_with_the_private_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = build_small("v6"), build_small("v6")
    first, second = (small_optimizer(model, "adamw", weight_decay=0.1) for model in (private, public))
    assert hasattr(torch, "_fused_adamw_")
    for iteration in range(20):
        skip = SKIP if iteration in (0, 7) else KEEP
        random_gradients(private, public)
        if iteration == 7:
            for p in (*private.parameters(), *public.parameters()):
                p.grad.fill_(math.nan)
        first.step({"all": 1e-3}, skip)
        with monkeypatch.context() as absent:
            absent.delattr(torch, "_fused_adamw_")
            second.step({"all": 1e-3}, skip)
    assert counted(first) == counted(second) == [18]
    for a, b in zip(private.parameters(), public.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    for name, memory in first.state.items():
        torch.testing.assert_close(memory, second.state[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("is_private", [True, False])
@given(st.lists(st.lists(st.floats(width=32), min_size=1, max_size=4).map(torch.tensor), min_size=1, max_size=3))
def test_nan_and_inf_are_found_wherever_they_are(is_private: bool, tensors: list[Tensor]) -> None:
    expected = any(not math.isfinite(value) for tensor in tensors for value in tensor.tolist())
    before = [tensor.numpy().tobytes() for tensor in tensors]
    with pytest.MonkeyPatch.context() as absent:
        if not is_private:
            absent.delattr(torch, "_amp_foreach_non_finite_check_and_unscale_")
        found = has_nonfinite(tensors)
    assert found.shape == ()
    assert found.item() == float(expected)
    if not expected:
        assert [tensor.numpy().tobytes() for tensor in tensors] == before
