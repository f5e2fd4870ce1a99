"""A new run starts from the weights, the vocabulary and the settings of another one."""

import csv
import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import gpt
from gpt.base.files import sha256
from gpt.data.vocabulary import LeftOut
from gpt.runs.folder import RunFolder
from gpt.runs.weights import save_weights
from gpt.session.forking import Fork
from tests.conftest import Script, empty_run


@pytest.fixture
def parent(trained: Path, tmp_path: Path) -> RunFolder:
    (original,) = (trained / "runs").glob("*/*")
    return RunFolder(Path(shutil.copytree(original, tmp_path / "parent")))


def test_a_fork_starts_from_the_best_weights_of_its_parent(script: Script, parent: RunFolder, tmp_path: Path) -> None:
    options = [f"init={parent.path}", "training.learning_rate=1e-4", "training.max_iters=10", "hydra.run.dir=fork"]
    done = script("train.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    digest = sha256(parent.weights("best"))
    assert f"starting from the best weights of {parent.path} (60 iterations, sha256 {digest[:12]})" in done.stdout
    fork = RunFolder(tmp_path / "fork")
    assert fork.evaluations()[0].val.nats == pytest.approx(
        min(e.val.nats for e in parent.evaluations()), abs=0.1
    )  # other batches
    summary = fork.summary()
    assert summary.parent is not None
    assert (summary.parent.run, summary.parent.sha256) == (str(parent.path), digest)
    assert f"init={parent.path}" in summary.changed
    config, inherited = fork.config(), parent.config()
    assert (config.model, config.data, config.training.batch_size) == (inherited.model, inherited.data, 16)
    assert (config.training.learning_rate, config.training.max_iters) == (1e-4, 10)
    assert fork.vocabulary().vocabulary == parent.vocabulary().vocabulary


@pytest.fixture
def other(tmp_path: Path) -> list[str]:
    """Another text, a seventh of which the parent's vocabulary lacks."""
    draw, letters = random.Random(0), "abcdé fghß ij"
    lines = ("".join(draw.sample(letters, len(letters))) for _ in range(200))  # which do not repeat each other
    (tmp_path / "other.txt").write_text("".join(f"{line}\n" for line in lines))
    return ["data=text", "data.path=other.txt", "training.max_iters=4", "hydra.run.dir=fork"]


def test_a_fork_says_wherever_it_has_a_result_what_it_left_out_because_its_vocabulary_lacks_it(
    called: Script, parent: RunFolder, other: list[str], tmp_path: Path
) -> None:
    refused = called("train.py", f"init={parent.path}", *other, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: the vocabulary of init={parent.path} lacks 400 of 2,800 characters, more than 0.01 of a split: "
        "add unknown_characters=grow to learn them, or unknown_characters=0.15 to leave them out\n"
    )
    assert not list((tmp_path / "fork").iterdir())
    done = called("train.py", f"init={parent.path}", *other, "unknown_characters=0.15", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["warning: left out 400 characters that the vocabulary lacks: 'ßé'"]
    assert "400 of 2,800 characters left out" in done.stdout
    summary = RunFolder(tmp_path / "fork").summary()
    assert summary.left_out == LeftOut(train=360, val=40, of_train=2520, of_val=280)
    evaluated = called("evaluate.py", "run=fork", "json=true", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(evaluated.stdout)
    assert found["nats_per_character"] == pytest.approx(summary.exact.nats, abs=0.1)
    assert (found["scored"], found["left_out"]) == (239, 40)
    assert called("compare.py", "runs=fork", cwd=tmp_path).returncode == 0
    assert "400 of 2,800 characters left out" in (tmp_path / "compare.md").read_text()
    (row,) = csv.DictReader((tmp_path / "compare.csv").open())
    assert row["left_out"] == "400"


@pytest.mark.parametrize("more", [["model=v7", "model.dropout=0.5"], ["training.multi_token=0.5"]])
def test_a_fork_learns_new_characters_and_knows_the_old_ones_as_before(
    called: Script, parent: RunFolder, other: list[str], tmp_path: Path, more: list[str]
) -> None:
    still = ["training.learning_rate=0", "optimizer.weight_decay=0"]
    done = called("train.py", f"init={parent.path}", *other, *still, *more, "unknown_characters=grow", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "the vocabulary grows by 2: 'ßé'" in done.stdout
    before = gpt.load(parent.path, weights="best", device="cpu")
    fork = gpt.load(tmp_path / "fork", weights="last", device="cpu")
    assert fork.summary.left_out is None
    assert set(fork.tokenizer.vocabulary) - set(before.tokenizer.vocabulary) == set("ßé")
    text = "Ab cde.\nFgh"
    with torch.no_grad():
        old, new = (run.model(run.tokenizer.encode(text)[None]) for run in (before, fork))
    columns = fork.tokenizer.encode(before.tokenizer.vocabulary)
    torch.testing.assert_close(new[..., columns], old)
    resumed = called("train.py", "resume=fork", "training.max_iters=6", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize(
    ("stage", "name", "size"),
    [
        (["model=v1"], "table.weight", (-1,)),  # (V, V)
        (["model=v9", "model.n_embd=32", "model.n_head=4", "model.n_layer=1", "model.block_size=16",
          "model.memory=4000", "schedule.warmup_iters=0"], "expected.weight", (32, -1)),  # (C, order * V)
    ],
)  # fmt: skip
def test_every_tensor_that_has_the_size_of_the_vocabulary_grows(
    stage: list[str], name: str, size: tuple[int, ...], corpus_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.txt").write_text("0 is new, A is not.\n" * 200)
    short = ["training.max_iters=1", "training.eval_iters=1", "training.batch_size=2", "device=cpu", "data=text"]
    old = gpt.train(*stage, *short, f"data.path={corpus_file}", folder=tmp_path / "old")
    options = [
        f"init={tmp_path / 'old'}",
        "unknown_characters=grow",
        "training.learning_rate=0",
        "optimizer.weight_decay=0",
    ]
    new = gpt.train(*options, *short, f"data.path={tmp_path / 'new.txt'}", folder=tmp_path / "new")
    places = new.tokenizer.encode(old.tokenizer.vocabulary)
    V, W = len(old.tokenizer), len(new.tokenizer)
    best = load_file(tmp_path / "old" / "best.safetensors")[name].reshape(*size, V)
    grown = load_file(tmp_path / "new" / "last.safetensors")[name].reshape(*size, W)[..., places]
    assert W > V
    # Muon's matrices have a learning rate of their own, so one small update of v9 remains.
    torch.testing.assert_close(grown[places] if stage == ["model=v1"] else grown, best, rtol=0, atol=0.01)


def test_a_fork_says_after_how_many_iterations_its_parent_had_the_weights_that_it_took(
    called: Script, parent: RunFolder, tmp_path: Path
) -> None:
    model = gpt.load(parent.path).model.state_dict()
    save_weights(parent, model, "best", 40)
    assert Fork.of(parent.path).record.iterations == 40
    save_weights(parent, model, "averaged", 50)
    assert Fork.of(parent.path).record.iterations == 50


def test_a_killed_fork_goes_on_from_its_own_checkpoint(script: Script, parent: RunFolder, tmp_path: Path) -> None:
    options = [f"init={parent.path}", "training.max_iters=10", "checkpoint.min_seconds=0", "checkpoint.keep=9",
               "checkpoint.interval=5"]  # fmt: skip
    whole = script("train.py", *options, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    assert (tmp_path / "cut" / "checkpoints" / "00000000").exists()
    for name in ("00000005", "00000010"):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / name)
    (tmp_path / "cut" / "summary.json").unlink()
    shutil.rmtree(parent.path)
    done = script("train.py", "resume=cut", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("last.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    shutil.rmtree(tmp_path / "cut" / "checkpoints")
    (tmp_path / "cut" / "summary.json").unlink()
    refused = script("train.py", "resume=cut", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == f"error: cut has no usable checkpoint: start over with init={parent.path}\n"


def test_a_fork_that_was_killed_before_its_first_checkpoint_starts_again_in_its_folder(
    script: Script, parent: RunFolder, tmp_path: Path
) -> None:
    options = [f"init={parent.path}", "training.max_iters=10", "resume=auto"]
    whole = script("train.py", *options, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    killed = empty_run(tmp_path / "killed")
    for name in ("config.yaml", "parent.json", "tokenizer.json"):
        shutil.copy(tmp_path / "whole" / name, killed.path)
    done = script("train.py", *options, "hydra.run.dir=killed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming killed from iteration 0" in done.stdout
    for name in ("last.safetensors", "metrics.jsonl", "parent.json"):
        assert (killed.path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["init=nowhere"], "error: init=nowhere: not a run folder\n"),
        (["init=parent", "model=v5"], "error: init=parent is a run of v7, not of v5: omit model=\n"),
        (["init=parent", "model.n_embd=64"], "error: init=parent: with model.n_embd=64, its weights would not fit, or"),
        (["init=parent", "model.n_head=8"], "error: init=parent: with model.n_head=8, its weights would not fit, or"),
        (
            ["model=v5", "unknown_characters=grow"],
            "error: unknown_characters= applies to the vocabulary of the run that init= names: give",
        ),
        (
            ["init=parent", "experiment=v7_cpu"],
            "error: init= takes its settings from another run, and experiment= sets",
        ),
        (["init=parent", "debug=fast"], "error: init= takes its settings from another run, and debug= sets its own"),
        (["resume=parent", "init=parent"], "cannot be resumed with init=parent: start a new run for that"),
    ],
)
def test_a_fork_that_cannot_be_is_refused_in_one_line(
    options: list[str], message: str, script: Script, parent: RunFolder, tmp_path: Path
) -> None:
    done = script("train.py", *options, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_fork_keeps_what_is_deleted_from_its_own_settings(script: Script, parent: RunFolder, tmp_path: Path) -> None:
    done = script("train.py", f"init={parent.path}", "training.max_iters=1", "~optimizer.beta1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("runs/*/*")
    assert RunFolder(path).config().optimizer == parent.config().optimizer


def test_the_weights_of_a_fork_are_those_of_its_parent_to_the_bit(
    script: Script, parent: RunFolder, tmp_path: Path
) -> None:
    done = script("train.py", f"init={parent.path}", "training.max_iters=1", "hydra.run.dir=fork",
                  "training.learning_rate=0", "optimizer.weight_decay=0", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, after = load_file(parent.weights("best")), load_file(tmp_path / "fork" / "last.safetensors")
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
