"""A new run starts from the weights, the vocabulary and the settings of another one."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gpt.base.files import sha256
from gpt.runs.folder import RunFolder
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
    assert fork.metrics()[0].val == pytest.approx(min(e.val for e in parent.metrics()), abs=0.1)  # other batches
    summary = fork.summary()
    assert summary.parent is not None
    assert (summary.parent.run, summary.parent.sha256) == (str(parent.path), digest)
    assert f"init={parent.path}" in summary.changed
    config, inherited = fork.config(), parent.config()
    assert (config.model, config.data, config.training.batch_size) == (inherited.model, inherited.data, 16)
    assert (config.training.learning_rate, config.training.max_iters) == (1e-4, 10)
    assert fork.vocabulary().vocabulary == parent.vocabulary().vocabulary


def test_a_fork_is_tuned_on_another_text_without_the_characters_that_its_vocabulary_lacks(
    script: Script, parent: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("abcdé fghß ij\n" * 200)
    options = [f"init={parent.path}", "data=text", "data.path=other.txt", "training.max_iters=4", "hydra.run.dir=fork"]
    done = script("train.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["warning: left out 400 characters that the vocabulary lacks: 'ßé'"]
    evaluated = script("evaluate.py", "run=fork", "json=true", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(evaluated.stdout)["nats_per_character"]
    assert found == pytest.approx(RunFolder(tmp_path / "fork").summary().exact.val, abs=0.1)


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
        (["init=parent", "model.n_embd=64"], "error: parent/best.safetensors is damaged or belongs to another model"),
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
