"""A new run starts from the weights, the vocabulary and the settings of another one."""

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from safetensors.torch import load_file

from gpt.base.files import sha256
from gpt.data.vocabulary import LeftOut
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.session.forking import is_same_function
from tests.conftest import Script, refused, stage_config, succeeded
from tests.results import content

_SMALL = {"block_size": 16, "n_embd": 32, "n_head": 4, "n_layer": 2}


@pytest.fixture
def parent(trained: Path, tmp_path: Path) -> RunFolder:
    (original,) = (trained / "runs").glob("*/*")
    return RunFolder(Path(shutil.copytree(original, tmp_path / "parent")))


def test_a_fork_starts_with_its_parents_best_weights_and_settings(
    called: Script, parent: RunFolder, tmp_path: Path
) -> None:
    options = [
        f"init={parent.path}",
        "training.max_iters=1",
        "hydra.run.dir=fork",
        "training.learning_rate=0",
        "optimizer.weight_decay=0",
    ]
    done = succeeded(called("train.py", *options, cwd=tmp_path))
    digest = sha256(parent.weights("best"))
    assert f"starting from the best weights of {parent.path} (60 iterations, sha256 {digest[:12]})" in done.stdout
    fork = RunFolder(tmp_path / "fork")
    before, after = load_file(parent.weights("best")), load_file(fork.weights("last"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    summary = fork.summary()
    assert summary.parent is not None
    assert (summary.parent.run, summary.parent.sha256) == (str(parent.path), digest)
    assert f"init={parent.path}" in summary.changed
    config, inherited = fork.config(), parent.config()
    assert (config.model, config.data, config.training.batch_size) == (inherited.model, inherited.data, 16)
    assert config.optimizer.hyperparameters == inherited.optimizer.hyperparameters | {"weight_decay": 0}
    assert (config.training.learning_rate, config.training.max_iters) == (0, 1)
    assert config.training.eval_iters == inherited.training.eval_iters
    assert fork.vocabulary().vocabulary == parent.vocabulary().vocabulary


@pytest.fixture
def other(tmp_path: Path) -> list[str]:
    """Another text, a seventh of which the parent's vocabulary lacks."""
    draw, letters = random.Random(0), "abcdé fghß ij"
    lines = ("".join(draw.sample(letters, len(letters))) for _ in range(200))  # which do not repeat each other
    (tmp_path / "other.txt").write_text("".join(f"{line}\n" for line in lines))
    return ["data=text", "data.path=other.txt", "training.max_iters=4", "hydra.run.dir=fork"]


def test_a_fork_reports_characters_that_its_vocabulary_lacks(
    called: Script, parent: RunFolder, other: list[str], tmp_path: Path
) -> None:
    done = succeeded(called("train.py", f"init={parent.path}", *other, cwd=tmp_path))
    (line,) = done.stderr.splitlines()
    assert "ßé" in line
    assert "400 of 2,800 characters left out" in done.stdout
    summary = RunFolder(tmp_path / "fork").summary()
    assert summary.left_out == LeftOut(train=360, val=40, of_train=2520, of_val=280)
    evaluated = succeeded(called("evaluate.py", "run=fork", "json=true", cwd=tmp_path))
    found = json.loads(evaluated.stdout)
    assert found["nats_per_character"] == pytest.approx(summary.exact.nats, abs=0.1)
    assert (found["scored"], found["left_out"]) == (239, 40)
    compared = succeeded(called("compare.py", "runs=fork", "out=runs.csv", cwd=tmp_path))
    assert "400 of 2,800 characters left out" in compared.stdout
    (row,) = csv.DictReader((tmp_path / "runs.csv").open())
    assert row["left_out"] == "400"


def test_a_fork_on_another_text_says_so(called: Script, parent: RunFolder, other: list[str], tmp_path: Path) -> None:
    said = "from parent, trained on another text"
    for name, words in (("fork", other), ("same", ["training.max_iters=1", "hydra.run.dir=same"])):
        trained = succeeded(called("train.py", f"init={parent.path}", *words, cwd=tmp_path)).stdout
        shown = [trained, called("evaluate.py", name, cwd=tmp_path).stderr]
        shown += [called("gpt/__main__.py", "runs", name, cwd=tmp_path).stdout]
        assert [said in each for each in shown] == 3 * [name == "fork"], shown
        assert (", trained on another text" in called("compare.py", name, cwd=tmp_path).stdout) == (name == "fork")


def test_a_killed_fork_resumes_or_starts_again(called: Script, parent: RunFolder, tmp_path: Path) -> None:
    options = [
        f"init={parent.path}",
        "training.max_iters=10",
        "checkpoint.min_seconds=0",
        "checkpoint.keep=9",
        "checkpoint.interval=5",
    ]
    succeeded(called("train.py", *options, "hydra.run.dir=whole", cwd=tmp_path))
    early = tmp_path / "early"  # killed before its first checkpoint
    early.mkdir()
    for name in ("config.yaml", "run.json", "tokenizer.json"):
        shutil.copy(tmp_path / "whole" / name, early)
    done = called("train.py", *options, "hydra.run.dir=early", "resume=auto", cwd=tmp_path)
    assert "resuming early from iteration 0" in done.stdout, done.stderr
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in ("00000005", "00000010"):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / name)
    (tmp_path / "cut" / "summary.json").unlink()
    shutil.rmtree(parent.path)  # the weights at iteration 0 are in the fork's first checkpoint
    succeeded(called("train.py", "resume=cut", cwd=tmp_path))
    for folder in ("cut", "early"):
        for name in ("last.safetensors", "metrics.jsonl"):
            assert content(tmp_path / folder / name) == content(tmp_path / "whole" / name)
        assert RunFolder(tmp_path / folder).record().parent == RunFolder(tmp_path / "whole").record().parent
    shutil.rmtree(tmp_path / "cut" / "checkpoints")
    (tmp_path / "cut" / "summary.json").unlink()
    refused = called("train.py", "resume=cut", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["init=nowhere"], "nowhere"),
        (["init=parent", "model=v5"], "model="),
        (["init=parent", "model.n_embd=64"], "model.n_embd=64"),
        (["init=parent", "experiment=v7_cpu"], "experiment="),
        (["resume=parent", "init=parent"], "init="),
    ],
)
def test_a_fork_that_cannot_be_is_refused_in_one_line(
    options: list[str], word: str, called: Script, parent: RunFolder, tmp_path: Path
) -> None:
    refused(called("train.py", *options, cwd=tmp_path), word)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("stage", "changes", "is_same"),
    [
        ("v1", {"block_size": 4}, True),
        ("v7", {"dropout": 0.7}, True),
        ("v7", {"block_size": 8}, False),  # positions are learned
        ("v7", {"n_embd": 2**16, "n_layer": 256}, False),  # more than there is memory for
        ("v8", {"block_size": 64, "dropout": 0.7}, True),  # positions are rotations
        ("v8", {"n_head": 2}, False),
        ("transformer", {"dropout": 0.7}, True),
    ],
)
def test_the_same_weights_are_the_same_model_or_another(stage: str, changes: dict[str, Any], is_same: bool) -> None:
    values: Any = OmegaConf.to_container(stage_config(stage).model)
    small = {key: value for key, value in _SMALL.items() if key in values}
    old, new = (Choice.model_validate(values | small | more) for more in ({}, changes))
    assert is_same_function(old, old, vocab_size=11)
    assert is_same_function(old, new, vocab_size=11) == is_same
