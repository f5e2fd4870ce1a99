"""Checks of the kernels that only a GPU has: runs that repeat to the last bit, and the gradients of compiled passes.

python benchmarks/gpu.py
python benchmarks/gpu.py determinism_v9 compiled_v8  # some of them
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import sys
from functools import partial

import torch
from harness import kept, machine, markdown, output, parser, train_command, trained
from same_losses import first_difference, losses

from gpt.base.runtime import Runtime, select_device
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.data.batch import Batch
from gpt.models import build
from gpt.runs.folder import RunFolder
from gpt.training.compilation import compiled, compiler_options
from gpt.training.objectives import Objective

_SMALL = ["model.block_size=16", "model.n_embd=32", "model.n_head=2", "model.n_layer=1", "training.batch_size=4"]


def _determinism(stage: str, quick: bool) -> list[list[str]]:
    """Train twice, and once more in two halves, and compare all losses and the weights."""
    iterations, size = (4, _SMALL) if quick else (200, [])
    lengths = [f"training.eval_interval={iterations // 4}", "training.eval_iters=5", "training.exact_tokens=100000"]
    settings = [f"model={stage}", "schedule=constant", "schedule.warmup_iters=0", "deterministic=true", *lengths, *size]
    whole = f"training.max_iters={iterations}"
    with kept() as place:
        first, second = (trained(place / name, *settings, whole) for name in ("first", "second"))
        half = trained(place / "half", *settings, f"training.max_iters={iterations // 2}")
        output(train_command(f"resume={half.path}", whole), place)
        return [
            [f"{stage}, deterministic=true, the same seed twice", _difference(first, second)],
            [f"{stage}, deterministic=true, resumed half-way", _difference(first, half)],
        ]


def _difference(one: RunFolder, other: RunFolder) -> str:
    here, there = losses(one.path), losses(other.path)
    if found := first_difference(here, there):
        return found
    if one.weights("last").read_bytes() != other.weights("last").read_bytes():
        return f"{len(here)} losses are equal, but not the weights"
    return f"{len(here)} losses and the weights are equal, to the last bit"


def _compiled(stage: str, quick: bool) -> list[list[str]]:
    """Compare the gradients of some compiled passes, between which the weights change, with those of plain passes."""
    config = compose(read("train", [f"model={stage}", *(_SMALL if quick else [])]))
    vocab_size = 65
    model = build(config.model, vocab_size).to(device := select_device("auto"))
    model.eval()  # without dropout, whose masks differ
    ids = torch.randint(vocab_size, (config.training.batch_size, model.block_size + 1), device=device)
    batch, objective = Batch.full(ids[:, :-1], ids[:, 1:]), Objective()
    worst, parameters = (0.0, ""), dict(model.named_parameters())
    with compiler_options(device):
        fast = compiled(objective, model, [batch], Runtime(device), is_whole=True)
        for _ in range(6):
            found = []
            for loss in (objective, fast):
                model.zero_grad()
                loss(model, batch).backward()
                # Not copied, and kept until the next pass, as in training.
                found.append({name: p.grad for name, p in parameters.items() if p.grad is not None})
            plain, other = found
            norms = {name: (other[name] - g).norm() / (g.norm() + 1e-12) for name, g in plain.items()}
            worst = max(worst, *((norm.item(), name) for name, norm in norms.items()))
            with torch.no_grad():
                for name, g in other.items():
                    parameters[name].sub_(g, alpha=0.01)
    result = f"gradients differ by at most {worst[0]:.1e} of their norm from those without it ({worst[1]})"
    return [[f"{stage}, compile=true", result]]


_CHECKS = {
    **{f"determinism_{stage}": partial(_determinism, stage) for stage in ("v7", "v9")},
    **{f"compiled_{stage}": partial(_compiled, stage) for stage in ("v6", "v7", "v8")},
}

if __name__ == "__main__":
    given = parser(__doc__, names=_CHECKS).parse_args()
    rows = []
    for name in given.names or _CHECKS:
        print(name, file=sys.stderr)
        rows += _CHECKS[name](given.quick)
    print(machine(), "", markdown(["check", "result"], rows), sep="\n")
