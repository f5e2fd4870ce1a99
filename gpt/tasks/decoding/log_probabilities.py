"""The log probabilities of generated tokens, beside those of the likeliest ones."""

from typing import Any

import torch
from torch import Tensor

from gpt.base.errors import in_json
from gpt.data.tokenizer import TextTokenizer


class LogProbabilities:
    """What the model gives the chosen token and the `n` likeliest at each step, in nats.

    Temperature and the other options of sampling change the choice, not these numbers.
    """

    def __init__(self, n: int) -> None:
        self._n, self._steps = n, list[tuple[Tensor, Tensor]]()  # (N, 1 + n) each: the chosen one, then the likeliest

    def __call__(self, logits: Tensor, chosen: Tensor) -> None:
        """Record a step: logits (N, V), chosen (N,)."""
        log_p = logits.float().log_softmax(dim=-1)
        likeliest = log_p.topk(min(self._n, log_p.shape[-1])).indices  # (N, n)
        ids = torch.cat([chosen[:, None], likeliest], dim=-1)
        self._steps.append((log_p.gather(-1, ids), ids))

    def of(self, sample: int, text: str, tokenizer: TextTokenizer) -> list[dict[str, Any]]:
        """The tokens of a sample, as far as they begin in its text: those of a stop string are left out."""
        left, found = len(text.encode(errors="surrogatepass")), list[dict[str, Any]]()
        for values, ids in self._steps:
            if left <= 0:
                break
            tokens = [tokenizer.shown[i] for i in ids[sample].tolist()]
            pairs = [pair for pair in zip(tokens, values[sample].tolist(), strict=True) if pair[1] > -torch.inf]
            (token, value), *likeliest = pairs
            found.append({"token": token, "logprob": value, "likeliest": likeliest})
            left -= int(tokenizer.sizes[ids[sample, 0], -1])
        return found


def lines(tokens: list[dict[str, Any]]) -> list[str]:
    """A line for each token: what was chosen, then the likeliest."""
    return [
        f"{each['logprob']:.4f} {in_json(each['token'])}: "
        + ", ".join(f"{value:.4f} {in_json(token)}" for token, value in each["likeliest"])
        for each in tokens
    ]
