"""Generation at v7's size, and with the CPU record's v9: characters per second.

    python benchmarks/generation.py --nanogpt PATH

The peer at v7's size is nanoGPT's `GPT.generate`. The weights are random on both sides, which does not affect the time.
For one text, a second row compares with the limit: a character cannot take less than reading all weights once.
bfloat16 is measured only where the processor has instructions for it.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from harness import QUICK_TRAINING, Row, alternate, arguments, output, table, train_command

from gpt.base.runtime import has_bfloat16, select_device

SIZES = [(1, 256), (1, 500), (64, 64)]  # samples, characters of each
_WEIGHTS = 10_641_792  # of v7's linear layers

_OURS = """
import gpt  # before torch, as in the scripts: it sets how threads wait
import sys, time, torch
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.models.v7_dropout import GPT
from gpt.base.runtime import keep_freed_memory, select_device
batch, tokens = map(int, sys.argv[2:])
keep_freed_memory(select_device("auto"))  # as generate.py does
torch.manual_seed(0)
model = packed(GPT(65, 256, 384, 6, 6, 0.2).to(select_device("auto")), getattr(torch, sys.argv[1]))
def run(tokens):
    for ids in generate(model, torch.tensor([0]), tokens=tokens, num_samples=batch, seed=1):
        ids.tolist()
run(8)
started = time.perf_counter()
run(tokens)
print(batch * tokens / (time.perf_counter() - started))
"""

# Of the record, it is a run: what it has counted takes time to look up.
_RECORD = """
import sys, time
import gpt
run, tokens = gpt.load(sys.argv[1]), int(sys.argv[2])
run.generate(tokens=8)
started = time.perf_counter()
run.generate(tokens=tokens)
print(tokens / (time.perf_counter() - started))
"""

# As many weights as v7's linear layers have, in products with one vector each: bytes read per second.
_BANDWIDTH = """
import gpt, sys, time, torch
from torch.nn.functional import linear
weights, x = torch.randn(7, 1536, 1024), torch.randn(1, 1024)
def read(times):
    for _ in range(times):
        for matrix in weights:
            linear(x, matrix)
with torch.inference_mode():
    read(2)
    started = time.perf_counter()
    read(int(sys.argv[1]))
print(int(sys.argv[1]) * weights.nbytes / (time.perf_counter() - started))
"""

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


def rows(nanogpt: Path | None, repeats: int, *, quick: bool) -> list[Row]:
    """Characters per second, all samples together."""
    dtypes = ["float32"]
    if has_bfloat16(select_device("auto")):
        dtypes.append("bfloat16")
    if not torch.cuda.is_available():
        dtypes.append("int8")
    with tempfile.TemporaryDirectory() as name:
        found = [
            v7_size(batch, tokens, dtype, nanogpt, repeats, Path(name))
            for batch, tokens in ([(1, 8)] if quick else SIZES)
            for dtype in dtypes
        ]
        if not torch.cuda.is_available():
            found += [_limit(dtype, repeats, Path(name), quick=quick) for dtype in dtypes]
        return [*found, _record(repeats, Path(name), quick=quick)]


def v7_size(batch: int, tokens: int, dtype: str, nanogpt: Path | None, repeats: int, folder: Path) -> Row:
    """Characters per second at v7's size."""
    theirs = _figure(folder, _THEIRS, str(nanogpt), batch, tokens) if nanogpt else None
    measured = alternate(repeats, _figure(folder, _OURS, dtype, batch, tokens), theirs)
    work = f"v7-size generation, {batch} x {tokens} characters, {dtype}; peer float32"
    return Row(work, "characters/s", measured, "nanoGPT generate", more_is_better=True)


def _limit(dtype: str, repeats: int, folder: Path, *, quick: bool) -> Row:
    """The ratio is the share of what the memory's bandwidth, measured in float32, allows."""
    weight = {"float32": 4, "bfloat16": 2, "int8": 1}[dtype]  # bytes
    bandwidth = _figure(folder, _BANDWIDTH, 2 if quick else 200)
    tokens = 8 if quick else 256
    ours = _figure(folder, _OURS, dtype, 1, tokens)
    measured = alternate(repeats, ours, lambda: bandwidth() / (_WEIGHTS * weight))
    work = f"v7-size generation, 1 x {tokens} characters, {dtype}, of the limit"
    return Row(work, "characters/s", measured, "reading the weights", more_is_better=True)


def _figure(folder: Path, code: str, *arguments: object) -> Callable[[], float]:
    """What a process prints that runs the code."""
    return lambda: float(output([sys.executable, "-c", code, *map(str, arguments)], folder))


def _record(repeats: int, folder: Path, *, quick: bool) -> Row:
    run, tokens = folder / "record", 8 if quick else 1000
    short = ["training.short_window=null", "resume=null", *QUICK_TRAINING]
    output(train_command("experiment=speedrun_cpu", f"hydra.run.dir={run}", *short), folder)
    work = f"generation with the CPU record's v9, 1 x {tokens} characters"
    measured = alternate(repeats, _figure(folder, _RECORD, run, tokens))
    return Row(work, "characters/s", measured, more_is_better=True)


if __name__ == "__main__":
    given = arguments(__doc__, "nanogpt")
    print(table(rows(given.nanogpt, given.repeats, quick=given.quick)))
