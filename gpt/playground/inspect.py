"""Answers about a run: predictions, attention, the values of a forward pass, and what a prediction rests on."""

from collections.abc import Collection

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.inspection.attention_weights import AttentionWeights
from gpt.inspection.parts import Inside, Switched, can_be_opened, heads, parts
from gpt.models import Remembering
from gpt.playground.assets import LONGEST_PROMPT, MOST_TOKENS
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import checked_logits
from gpt.training.evaluation import tokens_per_pass

_LONGEST = LONGEST_PROMPT + MOST_TOKENS  # tokens
LONGEST_CONTEXT = 64  # tokens, to find out how far back a run reads
_MOST = 16_000_000  # values in an answer: 64 MB; the logits of 318 tokens of GPT-2's vocabulary


def stride(T: int) -> int:
    """How far windows of T tokens advance in a longer text."""
    return max(1, T // 8)


@torch.inference_mode()
def logits(trained: TrainedRun, ids: list[int], off: Collection[str] = ()) -> Tensor:
    """The logits for the token after each of N tokens: (N, V).

    Each is computed from the `block_size` tokens before it or, in a longer text, from at least 7/8 of them: windows
    advance by an eighth of their length. `off` names parts of the run to turn off, from `inspection.parts.parts`.
    Raises RequestError for a token outside the vocabulary, for a part that the run does not have, or if the answer
    would be too large, and UserError for logits that contain NaN or Inf.
    """
    idx = _checked(trained, ids)
    N, T = len(idx), trained.model.block_size
    if N * len(trained.tokenizer) > _MOST:
        raise RequestError("the vocabulary of this run is too large for a text of this length: give a shorter one")
    if not set(off) <= set(parts(trained.model)):
        raise RequestError("the run does not have these parts: reload the page")
    model = Switched(trained.model).without(off) if off else trained.model
    starts = [*range(0, N - T, stride(T)), N - T] if N > T else [0]
    rows: list[Tensor] = []
    for first in range(0, len(starts), windows := max(1, tokens_per_pass(trained.runtime, trained.model) // T)):
        some = starts[first : first + windows]
        computed = model(torch.stack([idx[start : start + T] for start in some]))  # (windows, T, V)
        for window, start in zip(computed, some, strict=True):
            known = sum(len(row) for row in rows)
            rows.append(window[known - start :])
    return checked_logits(torch.cat(rows)).float().cpu()


@torch.inference_mode()
def attention(trained: TrainedRun, ids: list[int]) -> dict[str, Tensor]:
    """Every layer's attention over the last `block_size` tokens: (H, T, T) each, row t the weights of token t.

    Raises RequestError for a token outside the vocabulary.
    """
    idx = _checked(trained, ids)[-trained.model.block_size :]
    with AttentionWeights() as observed:
        trained.model(idx[None])
    return {f"attention_{layer}": weights[0].float().cpu() for layer, weights in enumerate(observed.weights)}


@torch.inference_mode()
def inside(trained: TrainedRun, ids: list[int], row: int) -> dict[str, Tensor]:
    """The values of the forward pass over a window, for the token at `row`, as `inspection.parts.Inside` names them.

    Raises RequestError for an unknown token, a row outside the window, or a stage off the ladder.
    """
    idx = _checked(trained, ids)
    if not row < len(idx) <= trained.model.block_size:
        raise RequestError("the run does not read this token in this window: reload the page")
    if not can_be_opened(trained.model):
        raise RequestError("the inside of this stage cannot be shown")
    values = Inside(trained.model).values(idx[None], torch.tensor([row], device=trained.device))
    return {name: x[0].float().cpu() for name, x in values.items()}


@torch.inference_mode()
def interventions(trained: TrainedRun, ids: list[int]) -> dict[str, Tensor]:
    """The logits after the last `block_size` of these tokens with parts of the run turned off, (V,) each:
    `without_attention` if it has attention and, for v9, `without_counts`.

    For v9 also, for the last 1, 2, ... tokens: `counts_p`, (order, V), the next token's probabilities by the counts,
    `counts_seen`, (order), how often the context was counted, and `counts_trust`, (order), the weight of these counts.
    For a run without softmax attention, `moved`, (min(T, 64)): how much of the probability is elsewhere if the run
    reads only the last 1, 2, ... tokens, as total variation distance. Raises RequestError for a token outside the
    vocabulary.
    """
    model = trained.model
    idx = _checked(trained, ids)[None, -model.block_size :]
    switched, off = Switched(model), {"without_attention": heads(model), "without_counts": ["counts"]}
    found = {
        name: switched.without(some)(idx)[0, -1] for name, some in off.items() if some and {*some} <= {*switched.parts}
    }
    if isinstance(model, Remembering):
        p, seen = model.ngrams(idx)
        trust = Inside(model).values(idx, torch.tensor([idx.shape[1] - 1], device=idx.device))["trust"][0]
        found |= {"counts_p": p[0, -1], "counts_seen": seen[0, -1], "counts_trust": trust}
    with AttentionWeights() as observed:
        model(idx[:, -1:])  # One token shows whether the stage attends.
    if not observed.weights:
        p = model(idx)[0, -1].softmax(dim=-1)
        lengths = range(1, min(idx.shape[1], LONGEST_CONTEXT) + 1)
        found["moved"] = torch.stack([(model(idx[:, -n:])[0, -1].softmax(dim=-1) - p).abs().sum() / 2 for n in lengths])
    return {name: tensor.float().cpu() for name, tensor in found.items()}


def _checked(trained: TrainedRun, ids: list[int]) -> Tensor:
    """The tokens, (N,). Raises RequestError if they are too many, or are not in the vocabulary."""
    if len(ids) > _LONGEST:
        raise RequestError(f"this text has {len(ids):,} tokens: give one of at most {_LONGEST:,}")
    if any(not 0 <= token < len(trained.tokenizer) for token in ids):
        raise RequestError("the run does not have these tokens: reload the page")
    return torch.tensor(ids, device=trained.device)
