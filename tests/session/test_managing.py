"""Runs as things: a list of them, and labels that are changed after the fact."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpt.base.errors import RequestError, UserError
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Labels
from gpt.session import managing
from tests.conftest import REPOSITORY, Script

FINISHED = REPOSITORY / "tests" / "runs" / "formats" / "1.0.0"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, and one that was killed."""
    monkeypatch.chdir(tmp_path)
    for name in ("done", "killed"):
        shutil.copytree(FINISHED, tmp_path / "runs" / name)
    (tmp_path / "runs" / "killed" / "summary.json").unlink()
    return tmp_path / "runs"


def listed(capsys: pytest.CaptureFixture, *words: str) -> list[dict]:
    managing.main("runs", [*words, "json=true"])
    found: list[dict] = json.loads(capsys.readouterr().out)
    return found


def test_every_run_has_a_line(runs: Path, capsys: pytest.CaptureFixture) -> None:
    del runs
    by_folder = {line["folder"]: line for line in listed(capsys)}
    assert {folder: line["state"] for folder, line in by_folder.items()} == {
        "runs/done": "finished", "runs/killed": "killed",
    }  # fmt: skip
    done = by_folder["runs/done"]
    assert done["loss"] == RunFolder(FINISHED).summary().exact.common
    assert by_folder["runs/killed"]["loss"] is None
    managing.main("runs", [])
    header, *lines, _, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["loss", "run", "iterations", "on", "age", "tags", "folder"]
    assert {line.split()[-1] for line in lines} == {"runs/done", "runs/killed"}


def test_a_run_that_is_being_written_is_training(runs: Path, capsys: pytest.CaptureFixture) -> None:
    code = (
        "import sys, pathlib; from gpt.runs.folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).locked(): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(runs / "killed")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        states = {line["folder"]: line["state"] for line in listed(capsys)}
        managing.main("clean", ["yes=true"])
        other.communicate("")
    assert states["runs/killed"] == "training"
    assert (runs / "killed").exists()


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        (["sort=loss"], ["runs/done", "runs/killed"]), (["tags=[nothing]"], []), (["stage=v1"], []),
        (["runs/done"], ["runs/done"]), (["since=1s"], []), (["since=9000w", "runs=runs/done"], ["runs/done"]),
    ],
)  # fmt: skip
def test_the_list_is_sorted_and_filtered(
    words: list[str], folders: list[str], runs: Path, capsys: pytest.CaptureFixture
) -> None:
    del runs
    assert [line["folder"] for line in listed(capsys, *words)] == folders


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("runs", ["nowhere"], "there is no folder nowhere"), ("runs", ["since=7"], "since=7: must be a duration"),
        ("tag", ["golden"], "tag takes run folders and then words"), ("tag", ["runs/done"], "tag takes run folders"),
        ("name", ["runs/done", "a", "b"], "name takes a run folder and a name"),
        ("clean", [], "nothing was removed: add yes=true"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(command: str, words: list[str], message: str, runs: Path) -> None:
    with pytest.raises(RequestError, match=message):
        managing.main(command, words)
    assert sorted(path.name for path in runs.iterdir()) == ["done", "killed"]


def test_labels_are_changed_after_the_fact_and_found(runs: Path) -> None:
    before = {path.name: path.read_bytes() for path in (runs / "done").iterdir() if path.is_file()}
    managing.main("tag", ["runs/done", "golden", "wide"])
    managing.main("untag", ["runs/done", "wide"])
    managing.main("name", ["runs/done", "best"])
    run = RunFolder(runs / "done")
    assert (run.summary().name, run.summary().tags) == (run.config().name, run.config().tags) == (
        "best", ["a", "b", "golden"],
    )  # fmt: skip
    assert [found.folder.path for found in finished_runs(runs, tags=["golden"])] == [run.path]
    after = {path.name: path.read_bytes() for path in (runs / "done").iterdir() if path.name in before}
    assert after == before  # no file that is checksummed has changed


def test_unfinished_runs_are_removed_and_no_others(runs: Path) -> None:
    managing.main("clean", ["yes=true"])
    assert [path.name for path in runs.iterdir()] == ["done"]


@pytest.mark.parametrize("by_then", ["finished", "training", "paused"])
def test_a_run_that_has_changed_while_one_was_asked_is_not_removed(
    by_then: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run, locks = RunFolder(runs / "killed"), contextlib.ExitStack()

    def answer(_: str) -> str:
        if by_then == "finished":
            shutil.copy(FINISHED / "summary.json", run.path)
        elif by_then == "paused":  # trained by somebody, and stopped
            run.write_ending("paused")
        else:
            locks.enter_context(run.locked())
        return "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    with locks:
        managing.main("clean", [])
    assert "removed 0" in capsys.readouterr().out
    assert sorted(path.name for path in runs.iterdir()) == ["done", "killed"]


def test_a_strangers_labels_are_checked(runs: Path) -> None:
    run = RunFolder(runs / "done")
    run.write_labels(Labels(name="a", tags=[]))
    path = runs / "done" / "labels.json"
    path.write_text(path.read_text().replace('"a"', '"b"'))
    with pytest.raises(UserError, match=r"labels\.json is damaged"):
        run.summary()


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


def test_the_package_lists_runs_too(runs: Path) -> None:
    command = [sys.executable, "-m", "gpt", "runs", str(runs), "sort=nothing"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=runs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: sort=nothing: must be newest or loss\n"
