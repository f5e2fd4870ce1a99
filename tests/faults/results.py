"""Results: what a new run could write over, and numbers recomputed without the project's own code for them."""

import math
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from gpt import models
from gpt.runs.folder import RunFolder
from tests.conftest import small_corpus
from tests.faults.scenarios import (
    STAGES,
    Outcome,
    differences,
    finish,
    in_parallel,
    one_line,
    short,
    start,
    tree,
    whole_run,
)  # fmt: skip

_OWN = {"notes.txt": "mine", "config.yaml": "mine: true\n", "last.safetensors": "mine", "loss.png": "mine"}


def new_runs(count: int, folder: Path) -> Outcome:
    """A new run into a folder with any files of another run and of the user's: it is refused and every byte stays, or
    it adds its files, or it continues to the results of the uninterrupted run.
    """
    arguments = [*STAGES["v5"], *short(20), "training.average_last=0.5", "logger=csv"]
    whole, _ = whole_run(folder / "whole", *arguments)
    names = sorted(path.name for path in whole.iterdir())

    def trial(number: int) -> list[str]:
        draw = random.Random(number)
        place = folder / str(number)
        taken = draw.sample(names, draw.choice([0, 1, 2, len(names) - 2, len(names) - 1, draw.randint(0, len(names))]))
        place.mkdir()
        for name in taken:
            copy = shutil.copytree if (whole / name).is_dir() else shutil.copy
            copy(whole / name, place / name)
        own = {name: content for name, content in _OWN.items() if name not in taken and draw.random() < 0.2}
        for name, content in own.items():
            (place / name).write_text(content)
        seed = draw.choice([[], [], ["seed=7"]])
        resume = draw.choice([[], ["resume=auto"]])
        before = tree(place)
        code, _, err = finish(start(*arguments, *seed, *resume, f"hydra.run.dir={place}", cwd=folder))
        after = {name: what for name, what in tree(place).items() if not name.startswith(".")}
        changed = {name for name, what in before.items() if not name.startswith(".") and after.get(name) != what}
        if code:
            wrong = [*one_line(code, err, 1, 2), *([] if after.keys() <= before.keys() else ["it left files"])]
        else:
            is_other = bool(seed) and changed
            wrong = ["another run was continued"] if is_other else [] if seed else differences(whole, place)
            changed -= set(names) - own.keys()  # of the run that was continued
        shutil.rmtree(place)
        wrong += [f"{name} changed" for name in sorted(changed)]
        return [f"{taken}, own {[*own]}, {seed} {resume}: {what}" for what in wrong]

    return Outcome(count, in_parallel(trial, count))


def numbers(count: int, folder: Path) -> Outcome:
    """Extended, forked, averaged and re-batched runs: every number in their summaries is that of an independent
    computation from their weights, their text and their settings.
    """
    return Outcome(count, in_parallel(lambda number: _numbers(folder / str(number), random.Random(number)), count))


def _numbers(folder: Path, draw: random.Random) -> list[str]:
    folder.mkdir()
    first, second = sorted(draw.sample(range(10, 60, 10), 2))
    batches = [draw.choice([4, 8]), draw.choice([4, 8, 12])]
    # An extension whose average would begin before the run's own end is refused.
    T, average = draw.choice([4, 7, 8]), draw.choice([0, 0.5]) if second >= 2 * first else 0
    common = [
        f"model={draw.choice(['v1', 'v5', 'v6'])}", f"model.block_size={T}", "training.eval_interval=10", "device=cpu",
        "training.eval_iters=2", "checkpoint.interval=10", "checkpoint.min_seconds=0", "checkpoint.keep=20",
        f"training.average_last={average}",
    ]  # fmt: skip
    place = "hydra.run.dir=run"
    wrong = _trained(folder, [*common, f"training.max_iters={first}", f"training.batch_size={batches[0]}", place])
    more = [f"training.max_iters={second}", f"training.batch_size={batches[1]}"]
    wrong += _trained(folder, ["resume=run", *more])
    run = RunFolder(folder / "run")
    text = small_corpus()
    wrong += _compared(run, text, T, tokens=T * (first * batches[0] + (second - first) * batches[1]))
    if run.summary().averaged:
        kept = [load_file(path / "state.safetensors") for path in sorted((run.path / "checkpoints").iterdir())]
        start_at = round((1 - average) * second, 6)
        used = [state for state, i in zip(kept, range(10, second + 1, 10), strict=False) if i >= start_at]
        for name, tensor in load_file(run.path / "averaged.safetensors").items():
            mean = torch.stack([state[f"model.{name}"] for state in used]).mean(0)
            wrong += [] if torch.allclose(mean, tensor, atol=1e-6) else [f"the average of {name}"]
    place = folder / "fork"
    place.mkdir()
    other = text[:3000] + "@#" * draw.randint(1, 9) + text[:200] + "~" * draw.randint(0, 9)
    (place / "corpus.txt").write_text(other)
    fork = [f"init={run.path}", "training.max_iters=10", "unknown_characters=1", "training.average_last=0"]
    wrong += _trained(place, [*fork, "hydra.run.dir=run"])
    forked = RunFolder(place / "run")
    wrong += _compared(forked, other, T, tokens=T * 10 * batches[1])
    parent = forked.summary().parent
    if parent is None or parent.weights != "best":
        return wrong if parent and parent.iterations == second else [*wrong, f"the parent is {parent}"]
    saved = load_file(run.path / "checkpoints" / f"{parent.iterations:08}" / "state.safetensors")
    taken = load_file(run.weights("best"))
    same = all(torch.equal(tensor, saved[f"model.{name}"]) for name, tensor in taken.items())
    return wrong if same else [*wrong, f"the parent's weights are not those after {parent.iterations} iterations"]


def _trained(folder: Path, arguments: list[str]) -> list[str]:
    code, _, err = finish(start(*arguments, cwd=folder))
    return [f"{arguments}: {err[-200:]}"] if code else []


@torch.no_grad()
def _compared(run: RunFolder, text: str, T: int, tokens: int) -> list[str]:
    """What a finished run says of its loss, its tokens and what it left out, beside what they are."""
    summary, vocabulary = run.summary(), run.vocabulary().vocabulary
    boundary = int(0.9 * len(text))
    known = [[vocabulary.index(c) for c in part if c in vocabulary] for part in (text[:boundary], text[boundary:])]
    left_out = [len(part) - len(ids) for part, ids in zip((text[:boundary], text[boundary:]), known, strict=True)]
    told = [0, 0] if summary.left_out is None else [summary.left_out.train, summary.left_out.val]
    model = models.build(run.config().model, len(vocabulary)).eval()
    model.load_state_dict(load_file(run.weights("averaged" if summary.averaged else "last")))
    val, total = torch.tensor(known[1]), 0.0
    for start_at in range(0, len(val) - 1, T):
        targets = val[start_at + 1 : start_at + 1 + T]
        logits = model(val[None, start_at : start_at + len(targets)])[0]
        total += cross_entropy(logits.double(), targets, reduction="sum").item()
    exact, last = total / (len(val) - 1), run.evaluations()[-1]
    numbers = {
        "exact loss": (summary.exact.nats, exact), "left out": (told, left_out), "tokens": (last.tokens, tokens),
        "iterations": (summary.iterations, last.iteration),
    }  # fmt: skip
    return [f"{run.path}: {what} {a} instead of {b}" for what, (a, b) in numbers.items() if not _equal(a, b)]


def _equal(a: object, b: object) -> bool:
    return math.isclose(a, b, abs_tol=1e-5) if isinstance(a, float) and isinstance(b, float) else a == b
