"""Text from a model, one token at a time."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from gpt.config import SamplingConfig
from gpt.seeding import generator
from gpt.tokenizer import CharTokenizer


@torch.inference_mode()
def generate(model: nn.Module, prompt: Tensor, config: SamplingConfig) -> Iterator[Tensor]:
    """Continue `prompt`, (T,) token ids with T >= 1, `num_samples` times; yield each step's ids, (num_samples,).

    Sample i is a function of (seed, i): it does not depend on how many samples are drawn beside it.
    """
    model.eval()
    device = next(model.parameters()).device
    prompt = prompt[-cast(int, model.block_size) :]  # no stage sees more
    N, T = config.num_samples, len(prompt)
    # One number for each choice to come, drawn ahead and on the CPU: the same text on every device.
    draws = [torch.rand(config.tokens, generator=generator(config.seed, "sample", i)) for i in range(N)]
    uniforms = torch.stack(draws, dim=1).to(device)  # (tokens, N)
    context = torch.empty(N, T + config.tokens, dtype=torch.int64, device=device)
    context[:, :T] = prompt
    next_logits = _CachedDecoder(model, N) if hasattr(model, "new_cache") else _WindowDecoder(model)
    for step in range(config.tokens):
        logits = next_logits(context[:, : T + step])  # (N, V)
        chosen = choose(logits, uniforms[step], config.temperature, config.top_k, config.top_p)  # (N,)
        context[:, T + step] = chosen
        yield chosen


def choose(logits: Tensor, uniform: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """One token id a row: logits (N, V), uniform (N,) numbers in [0, 1) -> (N,).

    Tokens are drawn from softmax(logits / temperature); temperature 0 takes the likeliest. `top_k` leaves
    only the k likeliest to choose from, `top_p` the fewest whose probabilities add up to p ("The Curious
    Case of Neural Text Degeneration", Holtzman et al., 2020, section 3.1); with both, the narrower holds.
    """
    if temperature < torch.finfo(torch.float32).tiny:
        return logits.argmax(dim=-1)
    shifted = logits.float() - logits.amax(dim=-1, keepdim=True)  # so that no temperature overflows
    p, ids = (shifted / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)  # (N, V) each
    if top_k is not None:
        p[:, top_k:] = 0
    if top_p is not None:
        outside = p.cumsum(dim=-1) - p >= top_p  # by the probability of all tokens before it
        outside[:, 0] = False
        p = p.masked_fill(outside, 0)
    cumulative = p.cumsum(dim=-1)  # (N, V)
    # Inverse transform sampling: the first token whose cumulative probability exceeds the draw.
    threshold = uniform[:, None] * cumulative[:, -1:]  # (N, 1)
    last = (p > 0).sum(dim=-1, keepdim=True) - 1  # rounding must not choose a token of probability 0
    choice = (cumulative <= threshold).sum(dim=-1, keepdim=True).minimum(last)  # (N, 1)
    return ids.gather(-1, choice).squeeze(-1)


class _WindowDecoder:
    """Runs the whole model over the last block_size tokens, every time."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, context: Tensor) -> Tensor:
        """context: (N, T) -> logits of the token that follows: (N, V)."""
        return self._model(context[:, -self._model.block_size :])[:, -1]


class _CachedDecoder:
    """Runs the model over the newest token alone; the cache has the keys and values of those before.

    Positions are learnt as 0 .. block_size - 1, so a full window cannot simply slide: every token's place,
    and with it every cached key, would change. The rule: a full window is dropped, and its newer half read
    again as a new context. That costs one pass every block_size / 2 tokens, and the model always sees at least
    half a window.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        self._cache = model.new_cache(batch_size)

    def __call__(self, context: Tensor) -> Tensor:
        """context: (N, T), one token longer than at the call before -> logits of what follows: (N, V)."""
        unread = 1
        if self._cache.length == 0:
            unread = self._cache.size
        elif self._cache.length == self._cache.size:
            self._cache.length = 0
            unread = max(1, self._cache.size // 2)
        return self._model(context[:, -unread:], self._cache)[:, -1]


def default_prompt(tokenizer: CharTokenizer) -> str:
    """What a text begins with if nobody says: a line end, or the first character of a corpus without any."""
    return "\n" if "\n" in tokenizer.vocabulary else tokenizer.vocabulary[0]


def sample_text(model: nn.Module, tokenizer: CharTokenizer, *, seed: int, tokens: int = 500) -> str:
    """A plain sample, for a first look at what a model has learnt."""
    config = SamplingConfig(tokens=tokens, num_samples=1, temperature=1.0, top_k=None, top_p=None, seed=seed)
    steps = generate(model, tokenizer.encode(default_prompt(tokenizer)), config)
    return tokenizer.decode(int(ids) for ids in steps)
