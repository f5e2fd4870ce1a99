"""What a prediction rests on: the same prediction with the run's attention or counts turned off, or from less text."""

import torch
from torch import Tensor

from gpt.inspection.attention_weights import AttentionWeights
from gpt.inspection.parts import Inside, Switched, heads
from gpt.models import block_size_of, v9_counts
from gpt.playground.looking import checked_ids
from gpt.session.trained import TrainedRun

_SHORTEST = 64  # contexts that are tried, at most


@torch.inference_mode()
def interventions(trained: TrainedRun, tokens: list[int]) -> dict[str, Tensor]:
    """The logits after the last `block_size` of these tokens with parts of the run turned off, (V,) each:
    `without_attention` if it has attention and, for v9, `without_counts`.

    For v9 also, for the last 1, 2, ... tokens: `counts_p`, (order, V), the next token's probabilities by the counts,
    `counts_seen`, (order), how often the context was counted, and `counts_trust`, (order), the weight of these counts.
    For a run without softmax attention, `moved`, (min(T, 64)): how much of the probability is elsewhere if the run
    reads only the last 1, 2, ... tokens, as total variation distance. Raises RequestError for a token outside the
    vocabulary.
    """
    model = trained.model
    idx = checked_ids(trained, tokens)[None, -block_size_of(model) :]
    switched, off = Switched(model), {"without_attention": heads(model), "without_counts": ["counts"]}
    found = {
        name: switched.without(some)(idx)[0, -1] for name, some in off.items() if some and {*some} <= {*switched.parts}
    }
    if isinstance(model, v9_counts.GPT):
        p, seen = model.ngrams(idx)
        trust = Inside(model).values(idx, torch.tensor([idx.shape[1] - 1], device=idx.device))["trust"][0]
        found |= {"counts_p": p[0, -1], "counts_seen": seen[0, -1], "counts_trust": trust}
    with AttentionWeights() as observed:
        model(idx[:, -1:])  # one token tells whether there is any
    if not observed.weights:
        p = model(idx)[0, -1].softmax(dim=-1)
        found["moved"] = torch.stack(
            [
                (model(idx[:, -n:])[0, -1].softmax(dim=-1) - p).abs().sum() / 2
                for n in range(1, min(idx.shape[1], _SHORTEST) + 1)
            ]
        )
    return {name: tensor.float().cpu() for name, tensor in found.items()}
