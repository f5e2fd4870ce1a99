"""What the fast paths gain that use PyTorch's private functions or go around its kernels: each against its fallback.

    python benchmarks/private_kernels.py

The package falls back to public functions where a version of PyTorch lacks a private one. Here both are timed in turn,
pair by pair: in a documented v6 step, for attention in bfloat16 in one of v8, and, for the packed matrices and the
recorded pass, in generation at v7's size. A recorded step, which goes around autograd, is compared with autograd.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest import mock

import torch
from generation import v7_generation
from harness import Measured, Row, alternate, arguments, documented, in_new_process, table
from omegaconf import OmegaConf
from torch import nn

from gpt import models
from gpt.base.choices import Choice
from gpt.base.runtime import has_bfloat16, keep_freed_memory, select_device, select_runtime
from gpt.data.corpora import shakespeare
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.models import block_size_of, v8_modern
from gpt.training.compilation import compiler_options, training_losses
from gpt.training.gradient_tape import RecordedGradient
from gpt.training.objectives import Autograd, Objective
from gpt.training.optimizers import AdamW, has_nonfinite

_FALLBACK = "public fallback"
_WARM_UP = 20  # steps that are not timed


def rows(repeats: int, *, quick: bool) -> list[Row]:
    """Milliseconds per step, and characters per second."""
    steps = 2 if quick else 1000
    result = []
    for name in ("_fused_adamw_", "_amp_foreach_non_finite_check_and_unscale_"):
        removed = without("gpt.training.optimizers", name)
        measured = _pairs(repeats, partial(v6_step, steps), removed)
        result.append(Row(f"v6 step, torch.{name}", "ms", measured, _FALLBACK))

    if (device := select_device("auto")).type != "cpu":  # the others are for CPUs
        return result
    for stage in ("v1",) if quick else ("v1", "v2", "v5", "v6"):
        pair = [partial(small_step, stage, steps, is_recorded=is_recorded) for is_recorded in (True, False)]
        result.append(Row(f"{stage} step, recorded", "ms", alternate(repeats, *pair), "autograd"))
    reduced = [torch.bfloat16] if has_bfloat16(device) else []  # emulated, it takes minutes and says nothing
    compiled = [partial(in_new_process, partial(_compiled_v6_step, steps, is_private=p)) for p in (True, False)]
    result.append(
        Row("v6 step, compiled, aggressive_recomputation", "ms", alternate(repeats, *compiled), "masks stored")
    )
    if reduced:
        measured = _pairs(repeats, partial(v8_step_in_bfloat16, 2 if quick else 50), with_pytorchs_attention())
        result.append(Row("v8 step, bfloat16, attention as products", "ms", measured, "PyTorch's kernel"))
    for batch, tokens in [(1, 8)] if quick else [(1, 256), (64, 64)]:
        for dtype in (torch.float32, *reduced):
            measured = _pairs(repeats, partial(_generation, batch, tokens, dtype), unpacked())
            name = f"v7-size generation, {batch} x {tokens} characters, {str(dtype).removeprefix('torch.')}, packed"
            result.append(Row(name, "characters/s", measured, "nn.Linear", more_is_better=True))
    return [*result, *(recorded(dtype, repeats, quick=quick) for dtype in (torch.float32, *reduced, torch.int8))]


def recorded(dtype: torch.dtype, repeats: int, *, quick: bool) -> Row:
    """Characters per second with the recorded pass, a CUDA graph on a GPU, and without."""
    tokens = 8 if quick else 256
    measured = _pairs(repeats, partial(_generation, 1, tokens, dtype, "auto"), unrecorded())
    name = f"v7-size generation, 1 x {tokens} characters, {str(dtype).removeprefix('torch.')}, recorded"
    return Row(name, "characters/s", measured, "the stage's Python", more_is_better=True)


def without(module: str, name: str) -> AbstractContextManager:
    """Make `hasattr(torch, name)` false for `module` of the package.

    PyTorch itself keeps the name, because its compiler reads it.
    """
    return mock.patch(f"{module}.hasattr", lambda owner, asked: asked != name and hasattr(owner, asked), create=True)


def unpacked() -> AbstractContextManager:
    """Make `packed` leave linear layers unchanged."""
    return mock.patch("torch.backends.mkldnn.is_available", return_value=False)


def with_pytorchs_attention() -> AbstractContextManager:
    """Make `causal_attention` call PyTorch's kernel in bfloat16 too."""
    return mock.patch("gpt.models.attention._SHORT_IN_BFLOAT16", 0)


def unrecorded() -> AbstractContextManager:
    """Make `generate` run a stage's own code for every token."""
    return mock.patch("gpt.tasks.decoding.sampling._MANY", {})


def v6_step(steps: int, *, compile: bool = False) -> float:
    """Milliseconds per step of the documented v6 run: forward, backward, the check for NaN and Inf, AdamW."""
    return small_step("v6", steps, compile=compile)


def small_step(stage: str, steps: int, *, compile: bool = False, is_recorded: bool = False) -> float:
    """Milliseconds per step of a stage's documented run, recorded or by autograd."""
    config = documented(stage)
    build = partial(models.build, Choice.model_validate(OmegaConf.to_container(config.model)))
    return _step(build, config.training.batch_size, steps, compile=compile, is_recorded=is_recorded)


def v8_step_in_bfloat16(steps: int) -> float:
    """Milliseconds per step at the size of v8's defaults, with AdamW."""
    v8 = partial(v8_modern.GPT, block_size=256, n_embd=128, n_head=4, n_layer=4, dropout=0.0)
    return _step(v8, 8, steps, dtype="bfloat16")


def _step(
    stage: Callable[..., nn.Module],
    batch_size: int,
    steps: int,
    *,
    compile: bool = False,
    dtype: str = "float32",
    is_recorded: bool = False,
) -> float:
    torch.manual_seed(0)
    corpus = shakespeare(train_fraction=0.9)
    tokenizer, device = CharTokenizer(corpus.train + corpus.val), select_device("auto")
    model = stage(len(tokenizer)).to(device)
    data = TextData(corpus, tokenizer, block_size=block_size_of(model), device=device)
    batch, runtime = data.training_batch(0, 0, batch_size), select_runtime(device, dtype, model)
    optimizer = AdamW(model, 1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999)
    parameters = list(model.parameters())
    keep_freed_memory(device)
    with runtime.settings(), compiler_options(device) if compile else nullcontext():
        loss, _ = training_losses(model, [batch], runtime, Objective(), parts=1, compile=compile)
        autograd = Autograd(loss, runtime)
        gradient = RecordedGradient(model, autograd) if is_recorded else autograd

        def step() -> None:
            mean = gradient(model, batch, 1.0)
            skip = has_nonfinite([mean, *(p.grad for p in parameters if p.grad is not None)])
            optimizer.step(optimizer.peaks, skip)
            optimizer.zero_grad()

        for _ in range(min(steps, _WARM_UP)):
            step()
        runtime.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        runtime.synchronize()
        return (time.perf_counter() - started) / steps * 1000


def _generation(batch: int, tokens: int, dtype: torch.dtype, device: str = "cpu") -> float:
    with mock.patch("gpt.tasks.decoding.packing._is_intel", return_value=False):  # else it leaves float32 as it is
        return v7_generation(batch, tokens, dtype, device)


def _pairs(repeats: int, work: Callable[[], float], fallback: AbstractContextManager) -> Measured:
    """Measure `work` as it is, and with the fallback."""

    def with_fallback() -> float:
        with fallback:
            return work()

    return alternate(repeats, work, with_fallback)


def _compiled_v6_step(steps: int, *, is_private: bool) -> float:
    removed = without("gpt.training.compilation", "aggressive_recomputation")
    # By torch.compile, as a larger stage: a small one is compiled ahead of time.
    with mock.patch("gpt.training.compilation.is_large", return_value=True), nullcontext() if is_private else removed:
        return v6_step(steps, compile=True)


if __name__ == "__main__":
    given = arguments(__doc__)
    print(table(rows(given.repeats, quick=given.quick)))
