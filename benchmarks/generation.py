"""Generation at v7's size, and with the CPU record's v9: characters per second.

    python benchmarks/generation.py --nanogpt PATH

The peer at v7's size is nanoGPT's `GPT.generate`. The weights are random on both sides, which does not affect the time.
For one text, a second row compares with the limit: a character cannot take less than reading all weights once.
bfloat16 is measured only where the processor has instructions for it.
"""

import gpt  # before torch, as in the scripts: it sets how threads wait

# isort: split
import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from harness import QUICK_TRAINING, Row, compared, in_new_process, kept, output, parser, seconds_of, table, trained
from torch.nn.functional import linear

from gpt.base.runtime import has_bfloat16, keep_freed_memory, select_device
from gpt.models import checked
from gpt.models.v7_dropout import GPT
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate

_SIZES = [(1, 256), (1, 500), (64, 64)]  # samples, characters of each
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
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


def rows(given: argparse.Namespace) -> list[Row]:
    """Characters per second, all samples together."""
    has_gpu, unit = torch.cuda.is_available(), "characters/s"
    reduced = [*(["bfloat16"] if has_bfloat16(select_device("auto")) else []), *([] if has_gpu else ["int8"])]
    dtypes = ["float32", *([] if given.quick else reduced)]
    found = []
    with kept() as folder:
        for batch, tokens in [(1, 8)] if given.quick else _SIZES:
            command = [sys.executable, "-c", _THEIRS, str(given.nanogpt), str(batch), str(tokens)]
            theirs = (lambda command=command: float(output(command, folder))) if given.nanogpt else None
            for dtype in dtypes:
                work = f"v7-size generation, {batch} x {tokens} characters, {dtype}; peer float32"
                found.append(compared(given, work, unit, _ours(batch, tokens, dtype), "nanoGPT generate", theirs))
        tokens, times = (8, 2) if given.quick else (256, 200)
        for dtype in [] if has_gpu else dtypes:
            # The ratio is the share of what the memory's bandwidth, measured in float32, allows.
            limit = partial(in_new_process, partial(_limit, times, _WEIGHTS * _BYTES[dtype]))
            work = f"v7-size generation, 1 x {tokens} characters, {dtype}, of the limit"
            found.append(compared(given, work, unit, _ours(1, tokens, dtype), "reading the weights", limit))
        tokens = 8 if given.quick else 1000
        record = trained(folder / "record", "experiment=speedrun_cpu", "training.short_window=null", *QUICK_TRAINING)
        of_record = partial(in_new_process, partial(_of_the_record, record.path, tokens))
        work = f"generation with the CPU record's v9, 1 x {tokens} characters"
        return [*found, compared(given, work, unit, of_record)]


def v7_generation(batch: int, tokens: int, dtype: torch.dtype) -> float:
    """Characters per second, all samples together, with random weights, which do not affect the time."""
    keep_freed_memory(device := select_device("auto"))  # as generate.py does
    torch.manual_seed(0)
    model = packed(checked(GPT(65, 256, 384, 6, 6, 0.2).to(device)), dtype)

    def run(tokens: int) -> None:
        for ids in generate(model, torch.tensor([0]), tokens=tokens, num_samples=batch, seed=1):
            ids.tolist()

    run(8)
    return batch * tokens / seconds_of(lambda: run(tokens))


def _ours(batch: int, tokens: int, dtype: str) -> partial[float]:
    return partial(in_new_process, partial(v7_generation, batch, tokens, getattr(torch, dtype)))


def _of_the_record(run: Path, tokens: int) -> float:
    """The same with a run: what it has counted takes time to look up."""
    trained = gpt.load(run)
    trained.generate(tokens=8)
    return tokens / seconds_of(lambda: trained.generate(tokens=tokens))


def _limit(times: int, size: int) -> float:
    """How often `size` bytes are read per second, by products of a vector with as many weights as v7's layers have."""
    weights, x = torch.randn(7, 1536, 1024), torch.randn(1, 1024)

    def read(times: int) -> None:
        for _ in range(times):
            for matrix in weights:
                linear(x, matrix)

    with torch.inference_mode():
        read(2)
        return times * weights.nbytes / size / seconds_of(lambda: read(times))


if __name__ == "__main__":
    given = parser(__doc__, "nanogpt").parse_args()
    print(table(rows(given)))
