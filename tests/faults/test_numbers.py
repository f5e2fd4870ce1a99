"""Extended, re-batched, averaged and forked runs: their numbers, recomputed without the project's own code for them."""

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from gpt import models
from gpt.runs.folder import RunFolder
from tests.conftest import small_corpus
from tests.faults.trials import check, finish, repeated, start


@repeated(quick=1, slow=4, full=100)
def test_every_number_of_a_run_is_that_of_an_independent_computation(count: int, tmp_path: Path) -> None:
    check(_trial, count, tmp_path)


def _trial(number: int, folder: Path) -> list[str]:
    draw = random.Random(number)
    first, second = sorted(draw.sample(range(10, 60, 10), 2))
    batches = [draw.choice([4, 8]), draw.choice([4, 8, 12])]
    # An extension whose average would begin before the run's own end is refused.
    T, average = draw.choice([4, 7, 8]), draw.choice([0, 0.5]) if second >= 2 * first else 0
    common = [
        f"model={draw.choice(['v1', 'v5', 'v6'])}", f"model.block_size={T}", "training.eval_interval=10", "device=cpu",
        "training.eval_iters=2", "checkpoint.interval=10", "checkpoint.min_seconds=0", "checkpoint.keep=20",
        f"training.average_last={average}",
    ]  # fmt: skip
    _train(folder, *common, f"training.max_iters={first}", f"training.batch_size={batches[0]}", "hydra.run.dir=run")
    _train(folder, "resume=run", f"training.max_iters={second}", f"training.batch_size={batches[1]}")
    run, text = RunFolder(folder / "run"), small_corpus()
    wrong = _compared(run, text, T, T * (first * batches[0] + (second - first) * batches[1]))
    if run.summary().exact.weights == "averaged":
        kept = [load_file(path / "state.safetensors") for path in sorted((run.path / "checkpoints").iterdir())]
        begin = round((1 - average) * second, 6)
        used = [state for state, i in zip(kept, range(10, second + 1, 10), strict=False) if i >= begin]
        for name, tensor in load_file(run.path / "averaged.safetensors").items():
            mean = torch.stack([state[f"model.{name}"] for state in used]).mean(0)
            wrong += [] if torch.allclose(mean, tensor, atol=1e-6) else [f"the average of {name}"]
    (folder / "fork").mkdir()
    other = text[:3000] + "@#" * draw.randint(1, 9) + text[:200] + "~" * draw.randint(0, 9)
    (folder / "fork" / "corpus.txt").write_text(other)
    fork = [f"init={run.path}", "training.max_iters=10", "training.average_last=0"]
    _train(folder / "fork", *fork, "hydra.run.dir=run")
    forked = RunFolder(folder / "fork" / "run")
    return wrong + _compared(forked, other, T, T * 10 * batches[1])


def _train(folder: Path, *arguments: str) -> None:
    code, _, err = finish(start(*arguments, cwd=folder))
    assert code == 0, err


@torch.no_grad()
def _compared(run: RunFolder, text: str, T: int, tokens: int) -> list[str]:
    """What a finished run says of its loss, its tokens and what it left out, beside what they are."""
    summary, vocabulary = run.summary(), run.vocabulary().vocabulary
    boundary = int(0.9 * len(text))
    known = [[vocabulary.index(c) for c in part if c in vocabulary] for part in (text[:boundary], text[boundary:])]
    left_out = [len(part) - len(ids) for part, ids in zip((text[:boundary], text[boundary:]), known, strict=True)]
    told = [0, 0] if summary.left_out is None else [summary.left_out.train, summary.left_out.val]
    model = models.build(run.config().model, len(vocabulary)).eval()
    model.load_state_dict(load_file(run.weights(summary.exact.weights)))
    val, total = torch.tensor(known[1]), 0.0
    for begin in range(0, len(val) - 1, T):
        targets = val[begin + 1 : begin + 1 + T]
        logits = model(val[None, begin : begin + len(targets)])[0]
        total += cross_entropy(logits.double(), targets, reduction="sum").item()
    last, over = run.evaluations()[-1], summary.exact.over
    numbers = {
        "exact loss": (summary.exact.nats, pytest.approx(total / (len(val) - 1), abs=1e-5)),
        "targets": ([over.count, over.left_out], [len(val) - 1, left_out[1]]), "left out": (told, left_out),
        "tokens": (last.tokens, tokens), "iterations": (summary.iterations, last.iteration),
    }  # fmt: skip
    return [f"{run.path}: {what} {a} instead of {b}" for what, (a, b) in numbers.items() if a != b]
