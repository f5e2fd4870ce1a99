"""A run with an average and a fork of it: their numbers, recomputed without the project's code for them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

import gpt
from gpt import models
from gpt.runs.folder import RunFolder
from tests.conftest import small_corpus

T = 7
_SETTINGS = [
    "model=v5",
    f"model.block_size={T}",
    "training.batch_size=4",
    "training.average_last=0.5",
    "device=cpu",
    "training.eval_interval=10",
    "training.eval_iters=2",
    "checkpoint.interval=10",
    "checkpoint.min_seconds=0",
    "checkpoint.keep=20",
]


def test_every_number_of_a_run_equals_an_independent_computation(tmp_path: Path) -> None:
    text = small_corpus()
    (tmp_path / "text").write_text(text)
    own = ["data=text", f"data.path={tmp_path / 'text'}"]
    gpt.train(*_SETTINGS, *own, "training.max_iters=40", folder=tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    _check(run, text, tokens=T * 40 * 4)
    assert run.summary().exact.weights == "averaged"
    averaged = [load_file(run.path / f"checkpoints/000000{i}/state.safetensors") for i in (20, 30, 40)]
    for name, tensor in load_file(run.path / "averaged.safetensors").items():
        mean = torch.stack([state[f"model.{name}"] for state in averaged]).mean(0)
        torch.testing.assert_close(tensor, mean, atol=1e-6, rtol=0)
    other = text[:3000] + "@#" * 5 + text[:200] + "~" * 3  # of characters that the fork's vocabulary lacks
    (tmp_path / "text").write_text(other)
    short = ["training.max_iters=10", "training.average_last=0"]
    gpt.train(f"init={run.path}", *short, *own, folder=tmp_path / "fork")
    _check(RunFolder(tmp_path / "fork"), other, tokens=T * 10 * 4)


@torch.no_grad()
def _check(run: RunFolder, text: str, tokens: int) -> None:
    """Check what a finished run says of its loss, its tokens and what it left out."""
    summary, vocabulary = run.summary(), run.vocabulary().vocabulary
    boundary = int(0.9 * len(text))
    parts = text[:boundary], text[boundary:]
    train, val = ([vocabulary.index(c) for c in part if c in vocabulary] for part in parts)
    left_out = [len(part) - len(ids) for part, ids in zip(parts, (train, val), strict=True)]
    said = summary.left_out
    assert ([said.train, said.val] if said else [0, 0]) == left_out
    model, ids, total = models.build(run.config().model, len(vocabulary)).eval(), torch.tensor(val), 0.0
    model.load_state_dict(load_file(run.weights(summary.exact.weights)))
    for begin in range(0, len(ids) - 1, T):
        targets = ids[begin + 1 : begin + 1 + T]
        logits = model(ids[None, begin : begin + len(targets)])[0]
        total += cross_entropy(logits.double(), targets, reduction="sum").item()
    over, last = summary.exact.over, run.evaluations()[-1]
    assert summary.exact.nats == pytest.approx(total / (len(ids) - 1), abs=1e-5)
    assert (over.count, over.left_out) == (len(ids) - 1, left_out[1])
    assert (last.tokens, last.iteration) == (tokens, summary.iterations)
