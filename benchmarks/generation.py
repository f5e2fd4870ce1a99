"""Generation at v7's size, and with the CPU record's v9: characters per second.

    python benchmarks/generation.py --nanogpt PATH

The peer at v7's size is nanoGPT's `GPT.generate`. The weights are random on both sides, which does not affect the time.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from harness import QUICK_TRAINING, Row, alternate, arguments, output, table, train_command

SIZES = [(1, 256), (1, 500), (64, 64)]  # samples, characters of each

_OURS = """
import gpt  # before torch, as in the scripts: it sets how threads wait
import sys, time, torch
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.models.v7_dropout import GPT
from gpt.base.runtime import select_device
batch, tokens = map(int, sys.argv[2:])
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
    dtypes = ["float32", "bfloat16", *([] if torch.cuda.is_available() else ["int8"])]
    with tempfile.TemporaryDirectory() as name:
        found = [
            v7_size(batch, tokens, dtype, nanogpt, repeats, Path(name))
            for batch, tokens in ([(1, 8)] if quick else SIZES)
            for dtype in dtypes
        ]
        return [*found, _record(repeats, Path(name), quick=quick)]


def v7_size(batch: int, tokens: int, dtype: str, nanogpt: Path | None, repeats: int, folder: Path) -> Row:
    """Characters per second at v7's size."""

    def measure(code: str, *arguments: str) -> Callable[[], float]:
        command = [sys.executable, "-c", code, *arguments, str(batch), str(tokens)]
        return lambda: float(output(command, folder))

    measured = alternate(repeats, measure(_OURS, dtype), measure(_THEIRS, str(nanogpt)) if nanogpt else None)
    work = f"v7-size generation, {batch} x {tokens} characters, {dtype}; peer float32"
    return Row(work, "characters/s", measured, "nanoGPT generate", more_is_better=True)


def _record(repeats: int, folder: Path, *, quick: bool) -> Row:
    run, tokens = folder / "record", 8 if quick else 1000
    short = ["training.short_window=null", "resume=null", *QUICK_TRAINING]
    output(train_command("experiment=speedrun_cpu", f"hydra.run.dir={run}", *short), folder)
    command = [sys.executable, "-c", _RECORD, str(run), str(tokens)]
    work = f"generation with the CPU record's v9, 1 x {tokens} characters"
    return Row(work, "characters/s", alternate(repeats, lambda: float(output(command, folder))), more_is_better=True)


if __name__ == "__main__":
    given = arguments(__doc__, "nanogpt")
    print(table(rows(given.nanogpt, given.repeats, quick=given.quick)))
