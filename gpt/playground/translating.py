"""Translations of a sentence, their scores, and their attention to the source."""

from typing import Any

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.data.pairs import BEGIN, END, Subwords
from gpt.inspection.attention_weights import Observed
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.beam_search import candidates, encode_sources
from gpt.tasks.translation import Translation


def translations(trained: TrainedRun, sentence: str, *, beam: int, length_penalty: float) -> dict[str, Any]:
    """Up to `beam` translations, the best first, and the subwords of the source.

    A score is the log probability, divided by the length penalty; a translation that has not ended was cut off.
    Characters that occur in no training sentence are left out. Raises RequestError if nothing remains, or the sentence
    is too long for the model.
    """
    tokenizer = _tokenizer(trained)
    known, _ = tokenizer.known_part(sentence)
    source = encode_sources(trained.model, tokenizer, [known])[0]
    if len(source) == 1:
        raise RequestError("there is nothing to translate: give at least one word that the run can read")
    found = candidates(trained.model, torch.tensor([source]), beam=beam, length_penalty=length_penalty)[0]
    beams = [
        {
            "text": tokenizer.decode(x.ids),
            "tokens": _tokens(tokenizer, x.ids),
            "score": x.score,
            "ids": x.ids,
            "ended": x.ended,
        }
        for x in found
    ]
    return {"source": _tokens(tokenizer, source), "beams": beams}


@torch.inference_mode()
def cross_attention(trained: TrainedRun, sentence: str, target: list[int]) -> dict[str, Tensor]:
    """The attention of each token of a translation to the source, (H, T, S) for each layer of the decoder.

    Row t is from the step that chose target[t], the last row from the step after `target`. Raises RequestError for a
    target that the model cannot read.
    """
    tokenizer = _tokenizer(trained)
    source = encode_sources(trained.model, tokenizer, [tokenizer.known_part(sentence)[0]])[0]
    if len(target) >= trained.model.block_size or any(not 0 <= i < len(tokenizer) for i in target):
        raise RequestError("this is not a translation by this run")
    pair = (torch.tensor([ids], device=trained.device) for ids in (source, [BEGIN, *target]))
    _, *weights = Observed(trained.model)(*pair)
    return {f"attention_{layer}": x[0].float().cpu() for layer, x in enumerate(weights)}


def _tokenizer(trained: TrainedRun) -> Subwords:
    return Translation.required(trained.task, "this").tokenizer


def _tokens(tokenizer: Subwords, ids: list[int]) -> list[str]:
    """The tokens as displayed: a space where a word begins, and a mark for the end."""
    return ["end" if i == END else tokenizer.vocabulary[i].replace("\u2581", " ") for i in ids]
