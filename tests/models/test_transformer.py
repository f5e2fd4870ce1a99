"""The encoder-decoder: equal to PyTorch's with the same weights, and blind to what it must not see."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from gpt.data.vocabulary import PAD
from gpt.models.kv_cache import KVCache
from gpt.models.transformer import Transformer, sinusoidal_positions

C, H, L, F, V = 32, 4, 2, 48, 50


def build(norm: str = "pre", *, shared: bool = True) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(V, 40, C, H, L, F, 0.0, norm, shared)
    for name, parameter in model.named_parameters():  # biases and gains that are 0 or 1 would hide mistakes
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=1.0 if "norm.weight" in name else 0.0, std=0.2)
    return model.eval()


def sentences() -> tuple[Tensor, Tensor]:
    """Sources and targets of different lengths, padded."""
    draw = torch.Generator().manual_seed(1)
    source, target = (torch.randint(4, V, (5, length), generator=draw) for length in (9, 7))
    for row in range(5):
        source[row, 9 - row :] = PAD
        target[row, max(1, 7 - row) :] = PAD
    return source, target


def copy_attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    theirs.out_proj.load_state_dict(ours.projection.state_dict())


@torch.no_grad()
def pytorch_twin(model: Transformer, norm: str) -> nn.Transformer:
    twin = nn.Transformer(C, H, L, L, F, dropout=0.0, batch_first=True, norm_first=norm == "pre").eval()
    for stack, ours in ((twin.encoder, model.encoder), (twin.decoder, model.decoder)):
        for layer, block in zip(stack.layers, ours, strict=True):
            copy_attention(layer.self_attn, block.attention)
            if hasattr(block, "cross_attention"):
                copy_attention(layer.multihead_attn, block.cross_attention)
            layer.linear1.load_state_dict(block.feed_forward[0].state_dict())
            layer.linear2.load_state_dict(block.feed_forward[2].state_dict())
            for number, residual in enumerate(block.residuals, start=1):
                getattr(layer, f"norm{number}").load_state_dict(residual.norm.state_dict())
    twin.encoder.norm, twin.decoder.norm = model.encoder_norm, model.decoder_norm
    return twin


@pytest.mark.parametrize(("norm", "shared"), [*product(["pre", "post"], [True, False])])
@torch.no_grad()
def test_it_equals_the_transformer_of_pytorch(norm: str, shared: bool) -> None:
    model = build(norm, shared=shared)
    twin = pytorch_twin(model, norm)
    source, target = sentences()
    table = model.source_embedding if shared else model.target_embedding
    embedded_source = model.source_embedding(source) * math.sqrt(C) + sinusoidal_positions(source.shape[1], C)
    embedded_target = table(target) * math.sqrt(C) + sinusoidal_positions(target.shape[1], C)
    causal, hidden = nn.Transformer.generate_square_subsequent_mask(target.shape[1]), source == PAD
    masks = {"tgt_mask": causal, "src_key_padding_mask": hidden, "memory_key_padding_mask": hidden}
    out = twin(embedded_source, embedded_target, **masks)
    output = model.source_embedding.weight if shared else model.output
    expected = out @ output.T + model.output_bias
    torch.testing.assert_close(model(source, target), expected, atol=1e-5, rtol=0)


def test_no_position_sees_a_later_target_or_a_padded_source() -> None:
    model = build()
    source, target = sentences()
    before = model(source, target)
    later = target.clone()
    later[:, 4:] = torch.randint(4, V, later[:, 4:].shape)
    torch.testing.assert_close(model(source, later)[:, :4], before[:, :4], atol=1e-6, rtol=0)
    assert not torch.allclose(model(source, later)[:, 4:], before[:, 4:])
    longer = torch.cat([source, torch.full((len(source), 3), PAD)], dim=1)
    torch.testing.assert_close(model(longer, target), before, atol=1e-5, rtol=0)
    other = source.clone()
    other[0, 0] = (other[0, 0] + 1) % V or 4
    assert not torch.allclose(model(other, target)[0], before[0])
    torch.testing.assert_close(model(other, target)[1:], before[1:], atol=1e-5, rtol=0)


def test_positions_are_those_of_the_paper() -> None:
    angles = torch.arange(50)[:, None] / 10_000 ** (torch.arange(0, C, 2) / C)
    expected = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    torch.testing.assert_close(sinusoidal_positions(50, C), expected, atol=1e-5, rtol=0)


def test_channels_may_be_odd_in_number() -> None:
    odd = Transformer(V, 40, 33, 3, L, F, 0.0, "pre", True)
    assert odd(*sentences()).shape[-1] == V


@torch.no_grad()
def test_cached_decoding_gives_the_logits_of_the_forward_pass() -> None:
    model = build()
    source, target = sentences()
    for first in (1, 4):
        encoded = model.encode(source)
        encoded.cache = KVCache(target.shape[1])
        parts = [target[:, :first], *target[:, first:].split(1, dim=1)]
        logits = torch.cat([model.decode(part, encoded) for part in parts], dim=1)
        torch.testing.assert_close(logits, model(source, target), atol=1e-5, rtol=0)
