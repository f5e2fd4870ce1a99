"""The attention call and the dropout, against v2's spelled-out head and against what they promise."""

import pytest
import torch

from gpt.models.attention import Dropout, causal_attention
from gpt.models.v2_attention_head import Head


@pytest.mark.parametrize("T", [1, 8, 100])
def test_causal_attention_is_what_the_head_of_v2_spells_out(T: int) -> None:
    torch.manual_seed(0)
    head, x = Head(32, 16), torch.randn(3, T, 32)
    q, k, v = (projection(x)[:, None] for projection in (head.query, head.key, head.value))  # one head: (B, 1, T, D)
    torch.testing.assert_close(causal_attention(q, k, v)[:, 0], head(x))
    every_number_kept = Dropout(1e-9)  # takes the path that has a dropout, and drops nothing
    torch.testing.assert_close(causal_attention(q, k, v, every_number_kept)[:, 0], head(x))


@pytest.mark.parametrize("T", [8, 512, 513])  # short windows are computed in another way
def test_attention_in_bfloat16_is_close_to_that_in_float32(T: int) -> None:
    torch.manual_seed(0)
    exact = torch.randn(3, 1, 2, T, 16)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        qkv = exact.detach().to(dtype, copy=True).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            y = causal_attention(*qkv)
        y.float().square().sum().backward()
        results.append((y.float(), qkv.grad.float()))
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)


@pytest.mark.parametrize(("p", "dtype"), [(0.1, torch.float32), (0.2, torch.bfloat16), (0.5, torch.float16)])
def test_dropout_drops_a_share_p_and_scales_the_rest(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype, requires_grad=True)  # not a multiple of four numbers
    y = Dropout(p)(x)
    assert y.dtype == dtype
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # what was dropped gets no gradient, the rest the same factor


def test_dropout_drops_the_same_numbers_in_every_precision() -> None:
    kept = set()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        torch.manual_seed(0)
        kept.add(tuple((Dropout(0.2)(torch.ones(999, dtype=dtype)) != 0).tolist()))
    assert len(kept) == 1


def test_dropout_drops_nothing_in_evaluation() -> None:
    x = torch.randn(1000)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_dropout_of_almost_everything_is_finite() -> None:
    assert Dropout(0.999999)(torch.randn(1000)).isfinite().all()


def test_attention_with_dropout_drops_weights_and_nothing_else() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 4, 3, 64, 16)  # q and k: (B, H, T, D)
    v = torch.eye(64).expand(4, 3, 64, 64)  # so that the output is the matrix of attention weights
    expected = causal_attention(q, k, v, Dropout(0.0))
    weights = causal_attention(q, k, v, Dropout(0.2))
    kept = weights != 0
    torch.testing.assert_close(weights[kept], expected[kept] / 0.8)
    assert not kept.triu(diagonal=1).any()
    visible = torch.ones(64, 64).tril().bool().expand_as(kept)
    assert 1 - kept[visible].float().mean().item() == pytest.approx(0.2, abs=0.02)
