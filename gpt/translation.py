"""Translations from an encoder-decoder: beam search, of which greedy decoding is the case of one beam."""

import torch
from torch import Tensor, nn

from gpt.config import SearchConfig
from gpt.errors import RequestError
from gpt.models.transformer import PAD, Read, Transformer
from gpt.subwords import BEGIN, END, Subwords

GREEDY = SearchConfig(beam=1, length_penalty=0.0)

_TOKENS_PER_BATCH = 8_000  # of sources, padding and beams counted


def translate(
    model: nn.Module, tokenizer: Subwords, sentences: list[str], config: SearchConfig, *, cached: bool = True
) -> list[str]:
    """The translation of every sentence, in their order. Raises RequestError for one that the model cannot take."""
    assert isinstance(model, Transformer)
    sources = [[*ids, END] for ids in tokenizer.encode_all(sentences)]
    for sentence, source in zip(sentences, sources, strict=True):
        if len(source) > model.block_size:
            raise RequestError(
                f"a sentence has {len(source):,} subwords, the model takes {model.block_size}: {sentence[:60]!r}..."
            )
    found: list[str] = [""] * len(sentences)
    waiting = [i for i in sorted(range(len(sources)), key=lambda i: -len(sources[i])) if len(sources[i]) > 1]
    while waiting:  # of about the same length together
        size = max(1, _TOKENS_PER_BATCH // (len(sources[waiting[0]]) * config.beam))
        rows, waiting = waiting[:size], waiting[size:]
        longest = len(sources[rows[0]])
        batch = torch.tensor([sources[i] + [PAD] * (longest - len(sources[i])) for i in rows])
        for i, ids in zip(rows, beam_search(model, batch, config, cached=cached), strict=True):
            found[i] = tokenizer.decode(ids)
    return found


@torch.inference_mode()
def beam_search(model: Transformer, source: Tensor, config: SearchConfig, *, cached: bool = True) -> list[list[int]]:
    """The best target found for every row of source, (B, S) token ids, without BEGIN and END.

    `beam` candidates a row are kept; once as many have ended, the best of these is taken, by log probability /
    ((5 + length) / 6) ** length_penalty ("Google's Neural Machine Translation System", Wu et al., 2016, equation 14).
    Without the cache the decoder reads every candidate anew for each token; the result is the same.
    """
    model.eval()
    device = model.output_bias.device
    B, K = len(source), config.beam
    limit = min(model.block_size, source.shape[1] + 50)
    read = model.read(source.to(device))
    read = Read([(_repeat(k, K), _repeat(v, K)) for k, v in read.keys_values], _repeat(read.mask, K))
    if cached:
        read.cache = model.new_cache(B * K, limit)
    ids = torch.full((B * K, limit + 1), PAD, device=device)
    ids[:, 0] = BEGIN
    scores = torch.full((B, K), float("-inf"), device=device)
    scores[:, 0] = 0.0  # the beams begin alike: one is enough
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(B)]
    offset = torch.arange(B, device=device)[:, None] * K

    for step in range(limit):
        logits = model.decode(ids[:, step : step + 1] if cached else ids[:, : step + 1], read)[:, -1]
        logits[:, [PAD, BEGIN]] = float("-inf")
        V = logits.shape[-1]
        candidates = (scores[..., None] + logits.float().log_softmax(-1).view(B, K, V)).flatten(1)  # (B, K * V)
        # 2 K of them: however many end here, K go on.
        top, places = candidates.topk(min(2 * K, candidates.shape[1]), dim=-1)
        parents, tokens = places // V, places % V  # (B, 2 K)
        ends = tokens == END
        # What ends now among the K best is finished; the K best of the others go on.
        for row, rank in (ends[:, :K] & top[:, :K].isfinite()).nonzero().tolist():
            if len(finished[row]) < K:
                parent = int(parents[row, rank]) + row * K
                text = ids[parent, 1 : step + 1].tolist()
                score = float(top[row, rank]) / ((5 + len(text) + 1) / 6) ** config.length_penalty
                finished[row].append((score, text))
        scores, order = top.masked_fill(ends, float("-inf")).topk(K, dim=-1)
        rows = (parents.gather(1, order) + offset).flatten()
        ids = ids[rows]
        ids[:, step + 1] = tokens.gather(1, order).flatten()
        if read.cache is not None:
            read.cache.reorder(rows)
        if all(len(candidates) >= K for candidates in finished):
            break
    for row in range(B):
        if not finished[row]:  # the limit came first
            finished[row].append((0.0, ids[row * K, 1:].tolist()))
    return [max(candidates, key=lambda candidate: candidate[0])[1] for candidates in finished]


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.repeat_interleave(times, dim=0)
