"""Runs as things: a list of them, and labels that are changed after the fact."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Labels
from tests.conftest import REPOSITORY, Script

FINISHED = REPOSITORY / "tests" / "runs" / "formats" / "1.0.0"
GPT = "gpt/__main__.py"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A finished run, and one that was killed."""
    for name in ("done", "killed"):
        shutil.copytree(FINISHED, tmp_path / "runs" / name)
    (tmp_path / "runs" / "killed" / "summary.json").unlink()
    return tmp_path / "runs"


def listed(called: Script, runs: Path, *words: str) -> list[dict]:
    done = called(GPT, "runs", *words, "json=true", cwd=runs.parent)
    assert done.returncode == 0, done.stderr
    found: list[dict] = json.loads(done.stdout)
    return found


def test_every_run_has_a_line_and_one_that_is_being_written_is_training(called: Script, runs: Path) -> None:
    def states() -> dict[str, str]:
        return {line["folder"]: line["state"] for line in listed(called, runs)}

    assert states() == {"runs/done": "finished", "runs/killed": "killed"}
    by_folder = {line["folder"]: line for line in listed(called, runs)}
    assert by_folder["runs/done"]["loss"] == RunFolder(FINISHED).summary().exact.common
    assert by_folder["runs/killed"]["loss"] is None
    header, *lines, _, _ = called(GPT, "runs", cwd=runs.parent).stdout.splitlines()
    assert header.split() == ["loss", "run", "iterations", "on", "age", "tags", "folder"]
    assert {line.split()[-1] for line in lines} == {"runs/done", "runs/killed"}
    with RunFolder(runs / "killed").locked():  # by another process, as far as the command knows
        assert states()["runs/killed"] == "training"
        assert "nothing to remove" in called(GPT, "clean", "yes=true", cwd=runs.parent).stdout


def test_the_list_is_sorted_and_filtered(called: Script, runs: Path) -> None:
    for words, folders in (
        (["sort=loss"], ["runs/done", "runs/killed"]), (["tags=[nothing]"], []), (["v1"], []),
        (["runs/done/"], ["runs/done"]), (["since=1s"], []), (["since=9000w", "runs/done"], ["runs/done"]),
    ):  # fmt: skip
        assert [line["folder"] for line in listed(called, runs, *words)] == folders


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("runs runs=nowhere", "there is no folder nowhere"), ("runs since=7", "since=7: must be a duration"),
        ("clean", "nothing was removed: add yes=true"), ("tag golden", "runs is required"),
        ("name runs/done a b", "name has several values, 'a' and 'b'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(words: str, message: str, called: Script, runs: Path) -> None:
    done = called(GPT, *words.split(), cwd=runs.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {message}")
    assert sorted(path.name for path in runs.iterdir()) == ["done", "killed"]


def test_labels_are_changed_after_the_fact_and_found(called: Script, runs: Path) -> None:
    before = {path.name: path.read_bytes() for path in (runs / "done").iterdir() if path.is_file()}
    for words in ("tag runs/done/ golden wide", "untag runs/done wide", "name runs/done best"):
        done = called(GPT, *words.split(), cwd=runs.parent)
        assert done.returncode == 0, done.stderr
    run = RunFolder(runs / "done")
    assert (run.summary().name, run.summary().tags) == (run.config().name, run.config().tags) == (
        "best", ["a", "b", "golden"],
    )  # fmt: skip
    assert [found.folder.path for found in finished_runs(runs, tags=["golden"])] == [run.path]
    after = {path.name: path.read_bytes() for path in (runs / "done").iterdir() if path.name in before}
    assert after == before  # no file that is checksummed has changed


@pytest.mark.parametrize("by_then", ["finished", "training", "paused", "the same"])
def test_a_run_is_removed_if_its_state_is_the_same_once_the_answer_is_there(
    by_then: str, called: Script, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, locks = RunFolder(runs / "killed"), contextlib.ExitStack()

    def answer() -> str:
        if by_then == "finished":
            shutil.copy(FINISHED / "summary.json", run.path)
        elif by_then == "paused":  # trained by somebody, and stopped
            run.write_ending("paused")
        elif by_then == "training":
            locks.enter_context(run.locked())
        return "y\n"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", answer)
    with locks:
        done = called(GPT, "clean", cwd=runs.parent)
    kept = [] if by_then == "the same" else ["killed"]
    assert f"removed {1 - len(kept)}\n" in done.stdout
    assert sorted(path.name for path in runs.iterdir()) == ["done", *kept]
    assert done.stderr.count("runs/killed was not removed") == len(kept)


def test_a_resumed_run_keeps_its_labels_and_takes_new_ones(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    short = ["training.max_iters=2", "training.eval_iters=1", "data=text", f"data.path={corpus_file}"]
    done = called("train.py", "v1", *short, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "run")
    run.write_labels(Labels(name="x", tags=["a"]))
    refused = called("train.py", "resume=run", "tags=[b]", cwd=tmp_path)
    assert refused.returncode == 2
    assert "run is finished: python -m gpt tag labels it" in refused.stderr
    done = called("train.py", "resume=run", "training.max_iters=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run.summary().name, run.summary().tags, (run.path / "labels.json").exists()) == ("x", ["a"], False)
    done = called("train.py", "resume=run", "training.max_iters=5", "tags=[b]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run.summary().tags == ["b"]
