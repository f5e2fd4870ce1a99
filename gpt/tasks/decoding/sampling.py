"""Text from a model, one token at a time."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gpt.base.errors import UserError
from gpt.base.seeding import generator
from gpt.config.command_schemas import SamplingConfig
from gpt.data.tokenizer import TextTokenizer
from gpt.models import block_size_of, is_own
from gpt.models.kv_cache import Cached, KVCache
from gpt.tasks.decoding.recorded_step import captured, traced

_MANY = {"cpu": 50, "cuda": 16}  # tokens, from which on recording a step saves more time than it takes


@torch.inference_mode()
def generate(model: nn.Module, prompt: Tensor, *, num_samples: int = 1, **options: Any) -> Iterator[Tensor]:
    """Continue `prompt`, (T,) token ids with T >= 1, `num_samples` times; yield each step's ids, (num_samples,).

    `options` are those of SamplingConfig; `stop`, which ends a text, has no effect on ids. Sample i is a function of
    (seed, i): it does not depend on how many samples are drawn.
    """
    model.eval()
    config = SamplingConfig(**options)
    device = next(model.parameters()).device
    block_size = block_size_of(model)
    prompt = prompt[-block_size:]  # no stage reads more
    N, T, tokens = num_samples, len(prompt), config.tokens
    # One number per choice, drawn in advance and on the CPU: the same text on every device.
    draws = [torch.rand(tokens, generator=generator(config.seed, "sample", i)) for i in range(N)]
    uniforms = torch.stack(draws, dim=1).to(device)  # (tokens, N)
    context = torch.empty(N, T + tokens, dtype=torch.int64, device=device)
    context[:, :T] = prompt
    decoder = None
    if isinstance(model, Cached):
        decoder = _CachedDecoder(model, KVCache(min(block_size, T + tokens), slides=model.slides), tokens)
    for step in range(tokens):
        read = context[:, : T + step]
        logits = decoder(read) if decoder else model(read[:, -block_size:])[:, -1]  # (N, V)
        if config.repetition_penalty is not None:
            logits = penalised(logits, read, config.repetition_penalty)  # (N, V)
        chosen = choose(logits, uniforms[step], config)  # (N,)
        context[:, T + step] = chosen
        yield chosen


def written(model: nn.Module, tokenizer: TextTokenizer, prompt: Tensor, config: SamplingConfig) -> Iterator[str]:
    """The text that continues `prompt`, (T,) token ids, piece by piece."""
    steps = generate(model, prompt, **config.sampling())
    return until(config.stop, tokenizer.pieces(int(step) for step in steps))


def until(stop: str | Sequence[str] | None, pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of a text up to the first of the strings that end it; what may be the beginning of one waits."""
    stops = [stop] if isinstance(stop, str) else stop or []

    def end(text: str) -> int:
        return min((place for each in stops if (place := text.find(each)) >= 0), default=len(text))

    waiting = ""
    for piece in pieces:
        waiting += piece
        ended = end(waiting)
        begun = next((i for i in range(ended) if any(each.startswith(waiting[i:]) for each in stops)), ended)
        yield waiting[:begun]
        waiting = waiting[begun:]
        if waiting and begun == ended:
            return
    if waiting:
        yield waiting[: end(waiting)]


def penalised(logits: Tensor, context: Tensor, penalty: float) -> Tensor:
    """Logits, (N, V), in which tokens of the context, (N, T), are less likely: divided by the penalty, or multiplied
    with it where they are negative ("CTRL", Keskar et al., 2019, section 4.1, as transformers does it).
    """
    own = logits.gather(-1, context)  # (N, T)
    return logits.scatter(-1, context, torch.where(own > 0, own / penalty, own * penalty))


def choose(logits: Tensor, uniform: Tensor, config: SamplingConfig) -> Tensor:
    """One token id per row: logits (N, V), uniform (N,) numbers in [0, 1) -> (N,).

    Temperature 0 takes the likeliest. Raises UserError for logits that contain NaN or Inf.
    """
    logits = checked_logits(logits)
    if config.temperature < torch.finfo(torch.float32).tiny:
        return logits.argmax(dim=-1)
    p, ids = shaped(logits, config)
    cumulative = _cumulative(p)  # (N, V)
    # Inverse transform sampling: the first token whose cumulative probability exceeds the draw.
    threshold = uniform[:, None] * cumulative[:, -1:]  # (N, 1)
    last = (cumulative < cumulative[:, -1:]).sum(dim=-1, keepdim=True)  # if the threshold is rounded to the total
    choice = (cumulative <= threshold).sum(dim=-1, keepdim=True).minimum(last)  # (N, 1)
    return ids.gather(-1, choice).squeeze(-1)


def checked_logits(logits: Tensor) -> Tensor:
    """The logits, (..., V), unchanged. Raises UserError if they contain NaN or Inf, as finite weights can produce."""
    if not logits.amax(dim=-1).isfinite().all():  # a token may be impossible, but not all of them
        raise UserError("the logits of this run contain NaN or Inf: its weights are damaged, or far too large")
    return logits


def shaped(logits: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """What to draw from: softmax(logits / temperature), with 0 for tokens that the options of SURVIVORS leave out.

    logits: (N, V) -> probabilities that need not add up to 1, the likeliest first, and their ids, (N, V) each.
    """
    shifted = logits.float() - logits.amax(dim=-1, keepdim=True)  # No temperature overflows then.
    ids = logits.argsort(dim=-1, descending=True, stable=True)  # (N, V); high temperatures make probabilities equal
    p = (shifted / config.temperature).softmax(dim=-1).gather(-1, ids)  # (N, V)
    for option, survivors in SURVIVORS.items():
        if (value := getattr(config, option)) is not None:
            p = p.masked_fill(~survivors(p, value), 0)
    return p, ids


def _top_k(p: Tensor, k: int) -> Tensor:
    """The k likeliest; in case of ties those with the lowest ids."""
    return (torch.arange(p.shape[-1], device=p.device) < k).expand_as(p)


def _top_p(p: Tensor, share: float) -> Tensor:
    """The fewest that have this share of the probability, the likeliest first ("The Curious Case of Neural Text
    Degeneration", Holtzman et al., 2020, section 3.1).
    """
    cumulative = _cumulative(p)
    kept = cumulative - p < share * cumulative[:, -1:]  # by the total probability of the tokens before it
    kept[:, 0] = True
    return kept


def _min_p(p: Tensor, share: float) -> Tensor:
    """Those with at least this share of the likeliest one's probability ("Turning Up the Heat", Nguyen et al., 2024,
    section 3).
    """
    return p >= share * p[:, :1]


def _typical_p(p: Tensor, share: float) -> Tensor:
    """The fewest that have this share of the probability, those first whose surprise, -log p, is closest to the entropy
    ("Locally Typical Sampling", Meister et al., 2022).
    """
    normalised = p / p.sum(dim=-1, keepdim=True)
    entropy = torch.special.entr(normalised).sum(dim=-1, keepdim=True)
    order = (normalised.log() + entropy).abs().argsort(dim=-1, stable=True)  # (N, V)
    return torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, _top_p(p.gather(-1, order), share))


# Which tokens each option leaves, in the order in which transformers chains them. The functions take the probabilities
# of `shaped`, (N, V), with 0 for what the options before leave out, and the option's value; they return a mask, (N, V).
SURVIVORS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
}


def _cumulative(p: Tensor) -> Tensor:
    """The cumulative sums of each row: (N, V) -> (N, V)."""
    if p.device.type == "cuda":  # where PyTorch has no deterministic sums of other than whole numbers
        return (p * 2**40).long().cumsum(dim=-1).to(p.dtype) * 2**-40
    return p.cpu().cumsum(dim=-1).to(p.device)


class _CachedDecoder:
    """Runs the model over the newest token alone; the cache holds the keys and values of the earlier ones.

    Learned positions are 0 .. block_size - 1, so a full window cannot simply slide: every token's position, and
    with it every cached key, would change. Instead, a full cache is emptied and the newer half of the window is read
    again. That costs one pass every block_size / 2 tokens, and the model always sees at least half a window. The cache
    of a stage whose positions are relative slides instead, and the state of a recurrent stage continues.

    The pass over one token is recorded if there are many, and only this package's code runs in it: the same operations
    without the Python between them.
    """

    def __init__(self, model: Cached, cache: KVCache, tokens: int) -> None:
        self._model, self._cache = model, cache
        self._step: Callable[[Tensor], Tensor] | None = None
        device = next(model.parameters()).device.type
        self._record = captured if device == "cuda" else traced
        self._is_worth_recording = tokens >= _MANY.get(device, math.inf) and is_own(model)

    def __call__(self, context: Tensor) -> Tensor:
        """context: (N, T), one token longer than in the previous call -> logits of the next token: (N, V)."""
        cache, unread = self._cache, 1
        if cache.length == 0:
            unread = cache.size
        elif cache.length == cache.size and not cache.slides:
            cache.length = 0
            unread = max(1, cache.size // 2)
        elif self._is_worth_recording:
            self._is_worth_recording = False
            with contextlib.suppress(RuntimeError, ValueError, AttributeError):  # then it stays as it is
                self._step = self._record(self._model, self._cache, context[:, -1:])
        if unread == 1 and self._step is not None:
            return self._step(context[:, -1:])[:, -1]
        with cache.active():
            return self._model(context[:, -unread:])[:, -1]


def default_prompt(tokenizer: TextTokenizer) -> str:
    """The default prompt: a newline, or the first character of a vocabulary without one."""
    return "\n" if tokenizer.is_complete or "\n" in tokenizer.vocabulary else tokenizer.vocabulary[0]


def sample_text(model: nn.Module, tokenizer: TextTokenizer, *, seed: int, tokens: int = 500) -> str:
    """A sample with the default settings."""
    steps = generate(model, tokenizer.encode(default_prompt(tokenizer)), tokens=tokens, seed=seed)
    return tokenizer.decode(int(ids) for ids in steps)
