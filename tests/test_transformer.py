"""The encoder-decoder: PyTorch's own with the same weights, and blind to what it must not see."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from gpt.config import SearchConfig
from gpt.models.transformer import PAD, Transformer, sinusoidal_positions
from gpt.subwords import BEGIN, END
from gpt.translation import beam_search

C, H, L, F, V = 32, 4, 2, 48, 50


def build(norm: str = "pre", *, shared: bool = True, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(V, 40, C, H, L, F, 0.0, norm, shared)
    for name, parameter in model.named_parameters():  # biases and gains that are 0 or 1 would hide mistakes
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=1.0 if "norm.weight" in name else 0.0, std=0.2)
    return model.eval()


def sentences(rows: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Sources and targets of different lengths, padded."""
    draw = torch.Generator().manual_seed(seed)
    source, target = torch.randint(4, V, (rows, 9), generator=draw), torch.randint(4, V, (rows, 7), generator=draw)
    for row in range(rows):
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
    twin.encoder.norm = model.encoder_norm
    twin.decoder.norm = model.decoder_norm
    return twin


@pytest.mark.parametrize(("norm", "shared"), product(["pre", "post"], [True, False]))
@torch.no_grad()
def test_it_equals_pytorchs_transformer(norm: str, shared: bool) -> None:
    model = build(norm, shared=shared)
    twin = pytorch_twin(model, norm)
    source, target = sentences()
    embedded = model._embed(model.source_embedding, source)
    read = model._embed(model.target_embedding or model.source_embedding, target)
    causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
    hidden = source == PAD
    out = twin(embedded, read, tgt_mask=causal, src_key_padding_mask=hidden, memory_key_padding_mask=hidden)
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
    positions = sinusoidal_positions(50, C)
    for t, i in ((0, 0), (3, 0), (3, 5), (49, 15)):
        angle = torch.tensor(t / 10_000 ** (2 * i / C))
        assert positions[t, 2 * i] == pytest.approx(angle.sin().item(), abs=1e-5)
        assert positions[t, 2 * i + 1] == pytest.approx(angle.cos().item(), abs=1e-5)


@torch.no_grad()
def test_reading_a_target_token_by_token_gives_the_same_logits() -> None:
    model = build()
    source, target = sentences()
    read = model.read(source)
    full = model.decode(target, read)
    read.cache = model.new_cache(len(source), target.shape[1])
    steps = [model.decode(target[:, t : t + 1], read) for t in range(target.shape[1])]
    torch.testing.assert_close(torch.cat(steps, dim=1), full, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("beam", "penalty"), product([1, 2, 5], [0.0, 1.0]))
def test_the_cache_changes_no_translation(beam: int, penalty: float) -> None:
    model = build()
    source, _ = sentences()
    config = SearchConfig(beam=beam, length_penalty=penalty)
    assert beam_search(model, source, config) == beam_search(model, source, config, cached=False)


def test_a_translation_does_not_depend_on_its_neighbours() -> None:
    model = build()
    source, _ = sentences()
    config = SearchConfig(beam=3, length_penalty=1.0)
    together = beam_search(model, source, config)
    for row in range(len(source)):
        alone = source[row : row + 1, : 9 - row]
        found = beam_search(model, alone, config)[0]
        assert found[:20] == together[row][:20]  # the limit of an endless one depends on the batch's longest source


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time() -> None:
    model = build()
    source, _ = sentences()
    found = beam_search(model, source, SearchConfig(beam=1, length_penalty=0.0))
    for row in range(len(source)):
        ids = [BEGIN]
        while len(ids) <= min(40, 9 + 50):
            logits = model(source[row : row + 1], torch.tensor([ids]))[0, -1]
            logits[[PAD, BEGIN]] = float("-inf")
            ids.append(int(logits.argmax()))
            if ids[-1] == END:
                break
        assert [i for i in ids[1:] if i != END] == found[row]


@torch.no_grad()
def test_a_wide_beam_finds_the_best_of_all_short_translations() -> None:
    """Every sequence up to three tokens, counted out."""
    torch.manual_seed(0)
    model = Transformer(7, 3, C, H, 1, F, 0.0, "pre", False).eval()
    source = torch.tensor([[4, 5, END]])
    best, best_score = None, -float("inf")
    words = (3, 4, 5, 6)
    for length in range(3):
        for words_chosen in product(words, repeat=length):
            ids = torch.tensor([[BEGIN, *words_chosen]])
            logits = model(source, ids)
            logits[..., [PAD, BEGIN]] = float("-inf")
            p = logits.log_softmax(-1)[0]
            score = sum(p[i, token].item() for i, token in enumerate([*words_chosen, END]))
            if score > best_score:
                best, best_score = list(words_chosen), score
    assert beam_search(model, source, SearchConfig(beam=30, length_penalty=0.0))[0] == best
