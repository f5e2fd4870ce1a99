"""Translation with an encoder-decoder by beam search; with one beam, this is greedy decoding."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.data.pairs import BEGIN, END, Subwords
from gpt.data.vocabulary import PAD
from gpt.models import Stage
from gpt.models.kv_cache import KVCache
from gpt.models.transformer import EncoderOutput
from gpt.tasks.decoding.sampling import checked_logits

_TOKENS_PER_BATCH = 8_000  # source tokens, counting padding and beams


def translate(
    model: Stage, tokenizer: Subwords, lines: list[str], *, beam: int, length_penalty: float, cached: bool = True
) -> list[str]:
    """The translation of every line, in order. Raises RequestError for one that is too long for the model."""
    sources = encode_sources(model, tokenizer, lines)
    found = [""] * len(lines)
    waiting = [i for i in sorted(range(len(sources)), key=lambda i: -len(sources[i])) if len(sources[i]) > 1]
    while waiting:  # in batches of similar length
        size = max(1, _TOKENS_PER_BATCH // (len(sources[waiting[0]]) * beam))
        rows, waiting = waiting[:size], waiting[size:]
        longest = len(sources[rows[0]])
        batch = torch.tensor([sources[i] + [PAD] * (longest - len(sources[i])) for i in rows])
        found_ids = beam_search(model, batch, beam=beam, length_penalty=length_penalty, cached=cached)
        for i, ids in zip(rows, found_ids, strict=True):
            found[i] = tokenizer.decode(ids)
    return found


def encode_sources(model: Stage, tokenizer: Subwords, sentences: list[str]) -> list[list[int]]:
    """The token ids of every sentence, with END. Raises RequestError for one that is too long for the model."""
    sources = [[*ids, END] for ids in tokenizer.encode_all(sentences)]
    for sentence, source in zip(sentences, sources, strict=True):
        if len(source) > model.block_size:
            raise RequestError(
                f"a sentence has {len(source):,} subwords, the model takes {model.block_size}: {sentence[:60]!r}..."
            )
    return sources


@dataclass(frozen=True)
class Candidate:
    """A target found by beam search."""

    score: float  # log probability / length penalty
    ids: list[int]  # without BEGIN and END
    ended: bool = True  # with END, rather than cut off at the maximum length


def beam_search(
    model: Any, source: Tensor, *, beam: int, length_penalty: float, cached: bool = True
) -> list[list[int]]:
    """The best target found for every row of source, (B, S) token ids, without BEGIN and END."""
    found = candidates(model, source, beam=beam, length_penalty=length_penalty, cached=cached)
    return [best.ids for best, *_ in found]


@torch.inference_mode()
def candidates(
    model: Any, source: Tensor, *, beam: int, length_penalty: float, cached: bool = True
) -> list[list[Candidate]]:
    """The best targets, up to `beam` of them, for each row of source, (B, S) token ids; the best comes first.

    Each row keeps `beam` candidates until `beam` have ended. They are ranked by log probability / ((5 + length) / 6)
    ** length_penalty ("Google's Neural Machine Translation System", Wu et al., 2016, equation 14). Without the cache
    the decoder reads every candidate again for each token; the result is the same.
    """
    model.eval()
    device = next(model.parameters()).device
    B, K = len(source), beam
    # Of each row, so that its target does not depend on the other rows.
    limits = [min(model.block_size, length + 50) for length in (source != PAD).sum(dim=1).tolist()]
    limit = max(limits, default=0)
    encoded = model.encode(source.to(device))
    keys_values = [(_repeat(k, K), _repeat(v, K)) for k, v in encoded.keys_values]
    cache = KVCache(limit) if cached else None
    encoded = EncoderOutput(keys_values, _repeat(encoded.mask, K), cache)
    ids = torch.full((B * K, limit + 1), PAD, device=device)
    ids[:, 0] = BEGIN
    scores = torch.full((B, K), float("-inf"), device=device)
    scores[:, 0] = 0.0  # all beams start out identical, so only the first counts
    finished: list[list[Candidate]] = [[] for _ in range(B)]
    offset = torch.arange(B, device=device)[:, None] * K

    for step in range(limit):
        logits = checked_logits(model.decode(ids[:, step : step + 1] if cached else ids[:, : step + 1], encoded)[:, -1])
        logits[:, [PAD, BEGIN]] = float("-inf")
        V = logits.shape[-1]
        continued = (scores[..., None] + logits.float().log_softmax(-1).view(B, K, V)).flatten(1)  # (B, K * V)
        # 2 K candidates, because up to K of them may end here.
        top, places = continued.topk(min(2 * K, continued.shape[1]), dim=-1)
        parents, tokens = places // V, places % V  # (B, 2 K)
        ends = tokens == END
        # Candidates among the K best that end here are finished; the K best of the others are kept.
        for row, rank in (ends[:, :K] & top[:, :K].isfinite()).nonzero().tolist():
            if len(finished[row]) < K and step < limits[row]:
                parent = int(parents[row, rank]) + row * K
                text = ids[parent, 1 : step + 1].tolist()
                score = float(top[row, rank]) / _penalty(len(text) + 1, length_penalty)
                finished[row].append(Candidate(score, text))
        scores, order = top.masked_fill(ends, float("-inf")).topk(K, dim=-1)
        rows = (parents.gather(1, order) + offset).flatten()
        ids = ids[rows]
        ids[:, step + 1] = tokens.gather(1, order).flatten()
        if cache is not None:
            cache.reorder(rows)
        for row in range(B):
            if step + 1 == limits[row] and not finished[row]:  # no candidate ended within the limit
                score = float(scores[row, 0]) / _penalty(limits[row], length_penalty)
                finished[row].append(Candidate(score, ids[row * K, 1 : step + 2].tolist(), ended=False))
        if all(len(ended) >= K or step + 1 >= limits[row] for row, ended in enumerate(finished)):
            break
    return [sorted(ended, key=lambda candidate: candidate.score, reverse=True) for ended in finished]


def _penalty(length: int, exponent: float) -> float:
    return ((5 + length) / 6) ** exponent


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.repeat_interleave(times, dim=0)
