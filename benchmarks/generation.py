"""Generation at v7's size, and with the CPU record's v9: characters per second.

    python benchmarks/generation.py --nanogpt PATH

The peer at v7's size is nanoGPT's `GPT.generate`. The weights are random on both sides, which does not affect the time.
For one text, a second row compares with the limit: a character cannot take less than reading all weights once.
bfloat16 is measured only where the processor has instructions for it.
"""

import gpt  # before torch, as in the scripts: it sets how threads wait

# isort: split
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from harness import QUICK_TRAINING, Row, alternate, arguments, in_new_process, kept, output, table, trained
from torch.nn.functional import linear

from gpt.base.runtime import has_bfloat16, keep_freed_memory, select_device
from gpt.models.v7_dropout import GPT
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate

SIZES = [(1, 256), (1, 500), (64, 64)]  # samples, characters of each
_WEIGHTS = 10_641_792  # of v7's linear layers

_THEIRS = """
import sys, time, torch
sys.path.insert(0, sys.argv.pop(1))
from model import GPT, GPTConfig
batch, tokens = map(int, sys.argv[1:])
torch.manual_seed(0)
config = GPTConfig(block_size=256, vocab_size=65, n_layer=6, n_head=6, n_embd=384, dropout=0.2, bias=False)
stdout, sys.stdout = sys.stdout, sys.stderr
device = "cuda" if torch.cuda.is_available() else "cpu"
model = GPT(config).eval().to(device)
prompt = torch.zeros(batch, 1, dtype=torch.int64, device=device)
with torch.no_grad():
    model.generate(prompt, 8)
    started = time.perf_counter()
    model.generate(prompt, tokens).tolist()
print(batch * tokens / (time.perf_counter() - started), file=stdout)
"""


def v7_generation(batch: int, tokens: int, dtype: torch.dtype, device: str = "auto") -> float:
    """Characters per second, all samples together, with random weights, which do not affect the time."""
    keep_freed_memory(select_device(device))  # as generate.py does
    torch.manual_seed(0)
    model = packed(GPT(65, 256, 384, 6, 6, 0.2).to(select_device(device)), dtype)

    def run(tokens: int) -> None:
        for ids in generate(model, torch.tensor([0]), tokens=tokens, num_samples=batch, seed=1):
            ids.tolist()

    run(8)
    return batch * tokens / _seconds(lambda: run(tokens))


def _of_the_record(run: Path, tokens: int) -> float:
    """The same with a run: what it has counted takes time to look up."""
    trained = gpt.load(run)
    trained.generate(tokens=8)
    return tokens / _seconds(lambda: trained.generate(tokens=tokens))


def _bandwidth(times: int) -> float:
    """Bytes read per second, by products of one vector with as many weights as v7's linear layers have."""
    weights, x = torch.randn(7, 1536, 1024), torch.randn(1, 1024)

    def read(times: int) -> None:
        for _ in range(times):
            for matrix in weights:
                linear(x, matrix)

    with torch.inference_mode():
        read(2)
        return times * weights.nbytes / _seconds(lambda: read(times))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(nanogpt: Path | None, repeats: int, *, quick: bool) -> list[Row]:
    """Characters per second, all samples together."""
    has_gpu = torch.cuda.is_available()
    dtypes = ["float32", *(["bfloat16"] if has_bfloat16(select_device("auto")) else []), *([] if has_gpu else ["int8"])]
    with kept(None) as folder:
        found = [
            v7_size(batch, tokens, dtype, nanogpt, repeats, folder)
            for batch, tokens in ([(1, 8)] if quick else SIZES)
            for dtype in dtypes
        ]
        if not has_gpu:
            found += [_limit(dtype, repeats, quick=quick) for dtype in dtypes]
        tokens, short = 8 if quick else 1000, ["training.short_window=null", *QUICK_TRAINING]
        record = trained(folder / "record", "experiment=speedrun_cpu", *short)
        measured = alternate(repeats, partial(in_new_process, partial(_of_the_record, record.path, tokens)))
    work = f"generation with the CPU record's v9, 1 x {tokens} characters"
    return [*found, Row(work, "characters/s", measured, more_is_better=True)]


def v7_size(batch: int, tokens: int, dtype: str, nanogpt: Path | None, repeats: int, folder: Path) -> Row:
    """Characters per second at v7's size."""
    command = [sys.executable, "-c", _THEIRS, str(nanogpt), str(batch), str(tokens)]
    theirs = (lambda: float(output(command, folder))) if nanogpt else None
    measured = alternate(repeats, _ours(batch, tokens, dtype), theirs)
    work = f"v7-size generation, {batch} x {tokens} characters, {dtype}; peer float32"
    return Row(work, "characters/s", measured, "nanoGPT generate", more_is_better=True)


def _ours(batch: int, tokens: int, dtype: str) -> Callable[[], float]:
    return partial(in_new_process, partial(v7_generation, batch, tokens, getattr(torch, dtype)))


def _limit(dtype: str, repeats: int, *, quick: bool) -> Row:
    """The ratio is the share of what the memory's bandwidth, measured in float32, allows."""
    weight = {"float32": 4, "bfloat16": 2, "int8": 1}[dtype]  # bytes
    tokens, times = (8, 2) if quick else (256, 200)
    reading = partial(in_new_process, partial(_bandwidth, times))
    measured = alternate(repeats, _ours(1, tokens, dtype), lambda: reading() / (_WEIGHTS * weight))
    work = f"v7-size generation, 1 x {tokens} characters, {dtype}, of the limit"
    return Row(work, "characters/s", measured, "reading the weights", more_is_better=True)


if __name__ == "__main__":
    given = arguments(__doc__, "nanogpt")
    print(table(rows(given.nanogpt, given.repeats, quick=given.quick)))
