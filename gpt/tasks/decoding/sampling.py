"""Text from a model, one token at a time."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gpt.base.errors import UserError
from gpt.base.seeding import generator
from gpt.config.command_schemas import SamplingConfig
from gpt.data.tokenizer import TextTokenizer
from gpt.models import Stage, has_package_code_only
from gpt.models.kv_cache import Cached, KVCache
from gpt.tasks.decoding.recorded_step import captured, traced

Watch = Callable[[Tensor, Tensor], None]  # gets each step's logits, (N, V), and the ids that were chosen, (N,)
_MANY = {"cpu": 50, "cuda": 16}  # tokens for which recording a step pays off


@torch.inference_mode()
def generate(
    model: Stage, prompt: Tensor, *, num_samples: int = 1, watch: Watch | None = None, **options: Any
) -> Iterator[Tensor]:
    """Continue `prompt`, (T,) token ids with T >= 1, `num_samples` times; yield each step's ids, (num_samples,).

    `options` are fields of SamplingConfig; `stop` has no effect on ids. Sample i is a function of (seed, i),
    whatever `num_samples` is.
    """
    model.eval()
    config = SamplingConfig(**options)
    device = next(model.parameters()).device
    block_size = model.block_size
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
        penalty = config.repetition_penalty
        weighed = logits if penalty is None else penalised(logits, read, penalty)  # (N, V)
        chosen = choose(weighed, uniforms[step], config)  # (N,)
        if watch is not None:
            watch(logits, chosen)
        context[:, T + step] = chosen
        yield chosen


def generate_text(
    model: Stage, tokenizer: TextTokenizer, prompt: Tensor, config: SamplingConfig, watch: Watch | None = None
) -> Iterator[str]:
    """The text that continues `prompt`, (T,) token ids, piece by piece."""
    steps = generate(model, prompt, watch=watch, **config.sampling())
    return until(config.stop, tokenizer.pieces(int(step) for step in steps))


def until(stop: str | Sequence[str] | None, pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of a text up to the first stop string; a possible beginning of one is held back."""
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
    with it where they are negative ("CTRL", Keskar et al., 2019, section 4.1, as in transformers).
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
    last = (cumulative < cumulative[:, -1:]).sum(dim=-1, keepdim=True)  # the threshold may round to the total
    choice = (cumulative <= threshold).sum(dim=-1, keepdim=True).minimum(last)  # (N, 1)
    return ids.gather(-1, choice).squeeze(-1)


def checked_logits(logits: Tensor) -> Tensor:
    """The logits, (..., V), unchanged. Raises UserError if they contain NaN or Inf, as finite weights can produce."""
    if not logits.amax(dim=-1).isfinite().all():  # some tokens may be impossible, not all
        raise UserError("the logits of this run contain NaN or Inf: its weights are damaged, or far too large")
    return logits


def shaped(logits: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """The distribution to draw from: softmax(logits / temperature), 0 where the options of SURVIVORS drop a token.

    logits: (N, V) -> probabilities, which need not add up to 1, the likeliest first, and their ids, (N, V) each.
    """
    shifted = logits.float() - logits.amax(dim=-1, keepdim=True)  # No temperature overflows.
    ids = logits.argsort(dim=-1, descending=True, stable=True)  # (N, V); high temperatures make probabilities equal
    p = (shifted / config.temperature).softmax(dim=-1).gather(-1, ids)  # (N, V)
    for option, survivors in SURVIVORS.items():
        if (value := getattr(config, option)) is not None:
            p = p.masked_fill(~survivors(p, value), 0)
    return p, ids


def _top_k(p: Tensor, k: int) -> Tensor:
    """The k likeliest tokens; in a tie, the lowest ids."""
    return (torch.arange(p.shape[-1], device=p.device) < k).expand_as(p)


def _top_p(p: Tensor, share: float) -> Tensor:
    """The fewest of the likeliest tokens with this share of the probability together ("The Curious Case of Neural
    Text Degeneration", Holtzman et al., 2020, section 3.1).
    """
    cumulative = _cumulative(p)
    kept = cumulative - p < share * cumulative[:, -1:]  # by the total probability of the tokens before it
    kept[:, 0] = True
    return kept


def _min_p(p: Tensor, share: float) -> Tensor:
    """The tokens with at least this share of the highest probability ("Turning Up the Heat", Nguyen et al., 2024,
    section 3).
    """
    return p >= share * p[:, :1]


def _typical_p(p: Tensor, share: float) -> Tensor:
    """The fewest tokens with this share of the probability, in order of the distance of -log p from the entropy
    ("Locally Typical Sampling", Meister et al., 2022).
    """
    normalised = p / p.sum(dim=-1, keepdim=True)
    entropy = torch.special.entr(normalised).sum(dim=-1, keepdim=True)
    order = (normalised.log() + entropy).abs().argsort(dim=-1, stable=True)  # (N, V)
    return torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, _top_p(p.gather(-1, order), share))


# The tokens that each option keeps, in the order of transformers. The functions take the probabilities of `shaped`,
# (N, V), with 0 for tokens already dropped, and the option's value; they return a mask, (N, V).
SURVIVORS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
}


def _cumulative(p: Tensor) -> Tensor:
    """The cumulative sums of each row: (N, V) -> (N, V)."""
    if p.device.type == "cuda":  # PyTorch sums only whole numbers deterministically here
        return (p * 2**40).long().cumsum(dim=-1).to(p.dtype) * 2**-40
    return p.cpu().cumsum(dim=-1).to(p.device)


class _CachedDecoder:
    """Runs the model over the newest token alone; the cache holds the keys and values of the earlier ones.

    With learned positions, a full window cannot slide: every token's position, and with it every cached key, would
    change. Instead, a full cache is emptied and the newer half of the window is read again. That costs one pass every
    block_size / 2 tokens, and the model always sees at least half a window. The cache of a stage with relative
    positions slides, and the state of a recurrent stage continues.

    The pass over one token is recorded if there are many tokens, and only this package's code runs in it.
    """

    def __init__(self, model: Cached, cache: KVCache, tokens: int) -> None:
        self._model, self._cache = model, cache
        self._step: Callable[[Tensor], Tensor] | None = None
        device = next(model.parameters()).device.type
        self._record = captured if device == "cuda" else traced
        self._is_worth_recording = tokens >= _MANY.get(device, math.inf) and has_package_code_only(model)

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
            with contextlib.suppress(RuntimeError, ValueError, AttributeError):  # The pass is then not recorded.
                self._step = self._record(self._model, self._cache, context[:, -1:])
        if unread == 1 and self._step is not None:
            return self._step(context[:, -1:])[:, -1]
        with cache.active():
            return self._model(context[:, -unread:])[:, -1]


def default_prompt(tokenizer: TextTokenizer) -> str:
    """The default prompt: a newline, or the first character of a vocabulary without one."""
    return "\n" if tokenizer.is_complete or "\n" in tokenizer.vocabulary else tokenizer.vocabulary[0]
