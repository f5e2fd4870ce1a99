"""Beam search: it finds the likeliest translation, with the same result with and without a cache."""

from itertools import product

import pytest

from tests.extras import require_extra

require_extra("translate")

import torch

from gpt.base.errors import RequestError, UserError
from gpt.data.pairs import BEGIN, END, Subwords
from gpt.data.vocabulary import PAD
from gpt.models.transformer import Transformer
from gpt.tasks.decoding.beam_search import beam_search, translate
from tests.models.test_transformer import C, F, H, V, build, sentences


def test_the_cache_changes_no_translation() -> None:
    model = build()
    source, _ = sentences()
    with_cache, without = (beam_search(model, source, beam=5, length_penalty=1.0, cached=x) for x in (True, False))
    assert with_cache == without


def test_logits_that_are_not_finite_are_an_error() -> None:
    model = build()
    source, _ = sentences()
    torch.nn.init.constant_(model.output_bias, float("inf"))
    with pytest.raises(UserError, match="NaN or Inf"):
        beam_search(model, source, beam=2, length_penalty=1.0)


@torch.no_grad()
def test_one_beam_takes_the_likeliest_token_each_time() -> None:
    model = build()
    source, _ = sentences()
    found = beam_search(model, source, beam=1, length_penalty=0.0)
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
    """Compared with every sequence of up to three tokens."""
    torch.manual_seed(0)
    model = Transformer(7, 3, C, H, 1, F, 0.0, "pre", False).eval()
    source = torch.tensor([[4, 5, END]])
    scores = {}
    for words in (words for length in range(3) for words in product((3, 4, 5, 6), repeat=length)):
        logits = model(source, torch.tensor([[BEGIN, *words]]))
        logits[..., [PAD, BEGIN]] = float("-inf")
        p = logits.log_softmax(-1)[0]
        scores[words] = sum(p[i, token].item() for i, token in enumerate([*words, END]))
    assert beam_search(model, source, beam=30, length_penalty=0.0)[0] == list(max(scores, key=scores.__getitem__))


WORDS = [f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
SENTENCES = ["ai bj ck", "dl", "em fn go hp", "", "ai", "hp go fn em dl"]


def test_sentences_are_translated_in_order_and_empty_ones_stay_empty() -> None:
    model, tokenizer = build(), Subwords.trained_on(WORDS * 3, V)
    found = translate(model, tokenizer, SENTENCES, beam=2, length_penalty=1.0)
    assert found[3] == ""
    assert len(set(found)) > 2
    for sentence, translation in zip(SENTENCES, found, strict=True):
        if sentence:
            source = torch.tensor([[*tokenizer.encode_all([sentence])[0], END]])
            (expected,) = beam_search(model, source, beam=2, length_penalty=1.0)
            assert translation == tokenizer.decode(expected)


def test_a_sentence_too_long_for_the_model_is_refused() -> None:
    model, tokenizer = build(), Subwords.trained_on(WORDS * 3, V)
    with pytest.raises(RequestError, match="'ai ai"):
        translate(model, tokenizer, ["dl", "ai " * 50], beam=1, length_penalty=0.0)


@pytest.mark.parametrize(("beam", "penalty"), [(1, 0.0), (3, 2.0)])
def test_a_translation_is_independent_of_the_others(beam: int, penalty: float) -> None:
    torch.manual_seed(0)
    model = Transformer(V, 200, C, H, 1, F, 0.0, "pre", False).eval()  # its limit is 50 tokens more than the source
    short, long = torch.randint(4, V, (1, 3)), torch.randint(4, V, (1, 60))
    both = torch.cat([torch.nn.functional.pad(short, (0, 57), value=PAD), long])
    alone = [beam_search(model, source, beam=beam, length_penalty=penalty)[0] for source in (short, long)]
    assert beam_search(model, both, beam=beam, length_penalty=penalty) == alone
    assert len(alone[0]) == 53  # an endless one
