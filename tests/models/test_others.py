"""The architectures beside the ladder: each is what another implementation, or a plain loop, computes; and its cost."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad
from torch.utils.flop_counter import FlopCounterMode

from gpt.base.errors import RequestError
from gpt.base.ladder import OTHERS
from gpt.models.kv_cache import KVCache
from gpt.models.others import conv, linear_attention, min_gru, mlp
from gpt.models.records import hybrid
from tests.conftest import build
from tests.models.test_kv_cache import read

B, T, C = 2, 8, 16


@pytest.mark.parametrize(("stage", "reference"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_layers_equal_those_of_pytorch(stage: str, reference: type[nn.RNNBase]) -> None:
    model = build(stage, n_embd=C, n_layer=2)
    expected = reference(C, C, num_layers=2, batch_first=True)
    with torch.no_grad():
        for i, layer in enumerate(model.blocks):
            getattr(expected, f"weight_ih_l{i}").copy_(layer.input.weight)
            getattr(expected, f"bias_ih_l{i}").copy_(layer.input.bias)
            getattr(expected, f"weight_hh_l{i}").copy_(layer.recurrent.weight)
            getattr(expected, f"bias_hh_l{i}").zero_()
    x = torch.randn(B, T, C)
    torch.testing.assert_close(model.blocks(x), expected(x)[0])


@torch.no_grad()
def test_the_mlp_reads_the_last_tokens_side_by_side() -> None:
    torch.manual_seed(0)
    model = mlp.GPT(vocab_size=65, block_size=T, context=3, n_embd=C, n_hidden=20)
    idx = torch.randint(65, (B, T))
    for t in range(T):
        read = [model.embedding(idx[:, i]) if i >= 0 else torch.zeros(B, C) for i in (t - 2, t - 1, t)]
        expected = model.lm_head(torch.tanh(model.hidden(torch.cat(read, dim=1))))
        torch.testing.assert_close(model(idx)[:, t], expected)


@torch.no_grad()
def test_a_dilated_convolution_equals_that_of_pytorch() -> None:
    torch.manual_seed(0)
    block = conv.Block(C, 4)
    reference = nn.Conv1d(C, 2 * C, kernel_size=2, dilation=4)
    reference.weight.copy_(block.convolution.weight.view(2 * C, 2, C).transpose(1, 2))
    reference.bias.copy_(block.convolution.bias)
    x = torch.randn(B, T, C)
    value, gate = reference(pad(x.transpose(1, 2), (4, 0))).transpose(1, 2).chunk(2, dim=-1)
    torch.testing.assert_close(block(x), x + block.projection(value.tanh() * gate.sigmoid()))


@torch.no_grad()
@pytest.mark.parametrize("length", [T, 150])  # less than a chunk, and two chunks and a part of one
def test_linear_attention_equals_its_definition_token_by_token(length: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, B, 2, length, C // 2)
    weights_and_values, weights = torch.zeros(B, 2, C // 2, C // 2), torch.zeros(B, 2, C // 2)
    found = linear_attention.attend(q, k, v)
    for t in range(length):
        query, key = elu(q[:, :, t]) + 1, elu(k[:, :, t]) + 1
        weights_and_values += key[..., :, None] * v[:, :, t, None, :]
        weights += key
        expected = (query[..., None] * weights_and_values).sum(-2) / (query * weights).sum(-1, keepdim=True)
        torch.testing.assert_close(found[:, :, t], expected)


def test_training_linear_attention_costs_the_same_for_each_further_chunk() -> None:
    costs = []
    for length in (64, 128, 192):
        model = build("linear_attention", block_size=length)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, length, dtype=torch.long)).sum().backward()
        costs.append(counter.get_total_flops())
    assert costs[2] - costs[1] == costs[1] - costs[0]


def test_linear_attention_averages_where_every_feature_rounds_to_zero() -> None:
    q, k = (torch.full((B, 2, T, C // 2), -20.0, requires_grad=True) for _ in range(2))  # elu is -1 in float32
    v = torch.randn(B, 2, T, C // 2)
    found = linear_attention.attend(q, k, v)
    torch.testing.assert_close(found, v.cumsum(2) / torch.arange(1, T + 1)[:, None])
    found.sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("length", [1, 5, T])
def test_the_scan_of_min_gru_equals_a_loop(length: int) -> None:
    torch.manual_seed(0)
    layer, x = min_gru.MinGRU(C, T), torch.randn(length, B, C)
    gate, candidate = layer.gate_and_candidate(x).chunk(2, dim=-1)
    expected = _loop(1 - gate.sigmoid(), gate.sigmoid() * candidate, torch.zeros(B, C))
    torch.testing.assert_close(layer(x.transpose(0, 1)).transpose(0, 1), expected)


@pytest.mark.parametrize("length", [1, 5, T])
def test_the_scan_of_the_hybrid_equals_a_loop(length: int) -> None:
    """Its states, and their gradients, which are written by hand."""
    found = []
    for scan in (hybrid.Scan.apply, _loop):
        torch.manual_seed(1)
        given = [x.requires_grad_() for x in (torch.rand(length, B, C), torch.randn(length, B, C), torch.randn(B, C))]
        states = scan(*given)
        found.append([states, *torch.autograd.grad(states.sin().sum(), given)])
    torch.testing.assert_close(*found)


def _loop(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    states = []
    for rate, step in zip(a, b, strict=True):
        h = rate * h + step
        states.append(h)
    return torch.stack(states)


@torch.no_grad()
@pytest.mark.parametrize("stage", OTHERS)
def test_generation_continues_beyond_the_window_as_if_it_were_longer(stage: str) -> None:
    """At the same cost for each token, however long the text is."""
    changes = {"n_attention": 0} if stage == "hybrid" else {}
    model = build(stage, block_size=T, **changes)
    longer = build(stage, block_size=3 * T, **changes) if model.slides else model  # linear_attention learns positions
    longer.load_state_dict(model.state_dict())
    idx = torch.randint(65, (B, 3 * T if model.slides else T))
    cache = KVCache(model.block_size, slides=model.slides)
    logits, costs = [read(model, idx[:, :5], cache)], set()
    for part in idx[:, 5:].split(1, dim=1):
        with FlopCounterMode(display=False) as counter:
            logits.append(read(model, part, cache))
        costs.add(counter.get_total_flops())
    torch.testing.assert_close(torch.cat(logits, dim=1), longer(idx), atol=1e-5, rtol=0)
    assert len(costs) == 1


def test_what_cannot_read_its_window_is_refused() -> None:
    with pytest.raises(RequestError, match="context=9"):
        build("mlp", context=9)
    with pytest.raises(RequestError, match="n_layer=4"):
        build("conv", n_layer=4)
