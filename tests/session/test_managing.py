"""Runs as things: a list of them, and labels that are changed after the fact."""

import json
import re
import shutil
from pathlib import Path

import pytest

from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from tests.conftest import REPOSITORY, Script, refused, succeeded

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
    done = succeeded(called(GPT, "runs", *words, "json=true", cwd=runs.parent))
    found: list[dict] = json.loads(done.stdout)
    return found


def test_every_run_is_listed_with_its_state_and_loss(called: Script, runs: Path) -> None:
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


def test_a_run_is_shown_on_one_screen(called: Script, runs: Path) -> None:
    shown = succeeded(called(GPT, "show", "done", cwd=runs.parent)).stdout
    summary = RunFolder(FINISHED).summary()
    assert shown.startswith(f"{RunFolder(FINISHED).config().name or summary.stage}")
    assert {f"{summary.exact.nats:.4f}", f"{summary.parameters:,}", "runs/done", "sample:"} <= {*shown.split()}
    assert len(shown.splitlines()) < 40
    assert re.search(r"^killed .* runs/killed$", called(GPT, "show", "killed", cwd=runs.parent).stdout, re.MULTILINE)


def test_losses_over_other_targets_are_kept_apart_and_marked(called: Script, runs: Path) -> None:
    for name, nats, over in (
        ("worse", 2.0, {}),
        ("better", 1.0, {}),
        ("other", 0.2, {"corpus": "another"}),
        ("split", 0.3, {"split": "test"}),
        ("sample", 0.4, {"count": 5, "of": 1000}),
    ):
        run = RunFolder(Path(shutil.copytree(FINISHED, runs / name)))
        summary = run.summary()
        changed = {"nats": nats, "over": summary.exact.over.model_copy(update=over)}
        run.write_summary(summary.model_copy(update={"exact": summary.exact.model_copy(update=changed)}))
    shutil.rmtree(runs / "done")
    order = [line["folder"].removeprefix("runs/") for line in listed(called, runs, "sort=loss")]
    assert order[-1] == "killed"
    assert order.index("worse") == order.index("better") + 1
    table = called(GPT, "runs", "sort=loss", cwd=runs.parent).stdout
    marked = {line.split()[-1] for line in table.splitlines() if re.match(r"[\d.]+\*", line)}
    assert marked == {"runs/sample"}
    assert "\n*: measured by 5 of 1,000 targets" in table
    assert "cannot be compared" in table


def test_the_list_is_sorted_and_filtered(called: Script, runs: Path) -> None:
    for words, folders in (
        (["sort=loss"], ["runs/done", "runs/killed"]),
        (["tags=[nothing]"], []),
        (["stage=v1"], []),
        (["runs/done/"], ["runs/done"]),
        (["since=1s"], []),
        (["since=9000w", "runs/done"], ["runs/done"]),
    ):
        assert [line["folder"] for line in listed(called, runs, *words)] == folders


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("runs runs=nowhere", "nowhere"),
        ("runs since=7", "since=7"),
        ("tag runs/done", "tags"),
        ("name runs/done a b", "'b'"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: str, named: str, called: Script, runs: Path) -> None:
    refused(called(GPT, *words.split(), cwd=runs.parent), named)
    assert sorted(path.name for path in runs.iterdir()) == ["done", "killed"]


def test_an_empty_list_says_whether_other_runs_are_there(called: Script, runs: Path) -> None:
    done = called(GPT, "runs", "stage=v9", cwd=runs.parent)
    assert done.stdout == "no run with stage=[v9] in runs: 2 others are there\n"
    (runs.parent / "empty").mkdir()
    assert "train one with" in called(GPT, "runs", "stage=v9", "runs=empty", cwd=runs.parent).stdout


def test_a_folder_is_taken_as_a_shell_completes_it(called: Script, runs: Path) -> None:
    (runs / "done").rename(runs / "lr=0.1,0.2")
    (runs / "killed").rename(runs.parent / "lr=0.3")
    for words, found in (
        (["runs/lr=0.1,0.2"], ["runs/lr=0.1,0.2"]),
        (["./lr=0.3"], ["lr=0.3"]),
        (["runs/lr=0.1,0.2/", "./lr=0.3"], ["lr=0.3", "runs/lr=0.1,0.2"]),
    ):
        assert sorted(line["folder"] for line in listed(called, runs, *words)) == found
    succeeded(called(GPT, "tag", "runs='runs/lr=0.1,0.2/',./lr=0.3/", "golden", cwd=runs.parent))
    assert all("golden" in RunFolder(path).config().tags for path in (runs / "lr=0.1,0.2", runs.parent / "lr=0.3"))
    refused(called(GPT, "runs", "json=[", cwd=runs.parent), "json=[")


def test_labels_are_changed_after_the_fact_and_found(called: Script, runs: Path) -> None:
    before = {path.name: path.read_bytes() for path in (runs / "done").iterdir() if path.is_file()}
    for words in ("tag runs/done/ golden wide", "tag runs/done -wide", "name runs/done best"):
        succeeded(called(GPT, *words.split(), cwd=runs.parent))
    run = RunFolder(runs / "done")
    assert (
        (run.summary().name, run.summary().tags)
        == (run.config().name, run.config().tags)
        == ("best", ["a", "b", "golden"])
    )
    assert [found.folder.path for found in finished_runs(runs, tags=["golden"])] == [run.path]
    after = {path.name: path.read_bytes() for path in (runs / "done").iterdir() if path.name in before}
    assert {name for name in before if after[name] != before[name]} == {"run.json"}


@pytest.mark.slow
@pytest.mark.parametrize("words", ["quiet=true", "json=true", "quiet=false json=false", "quiet=true resume=auto"])
def test_a_run_is_resumed_with_less_output(words: str, called: Script, corpus_file: Path, tmp_path: Path) -> None:
    typed = ["v1", "training.eval_iters=1", "data=text", f"data.path={corpus_file}", "hydra.run.dir=run"]
    succeeded(called("train.py", *typed, "training.max_iters=2", cwd=tmp_path))
    again = [*typed, "training.max_iters=2"] if "auto" in words else ["resume=run", "training.max_iters=4"]
    done = called("train.py", *again, *words.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("iteration 4 " in done.stdout) == ("false" in words)
    if "json=true" in words:
        assert json.loads(done.stdout)["iterations"] == 4


def test_a_resumed_run_keeps_its_labels_and_takes_new_ones(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    """With resume=auto, a command that is repeated as it was does not undo what `gpt tag` or `name` did since."""
    auto = ["v1", "training.eval_iters=1", "data=text", f"data.path={corpus_file}", "hydra.run.dir=run", "resume=auto"]
    succeeded(called("train.py", *auto, "training.max_iters=2", "tags=[first]", cwd=tmp_path))
    run = RunFolder(tmp_path / "run")
    run.update(name="x", tags=["a"])
    refused(called("train.py", "resume=run", "tags=[b]", cwd=tmp_path), "python -m gpt tag")
    succeeded(called("train.py", *auto, "training.max_iters=4", "tags=[first]", cwd=tmp_path))
    assert (run.summary().name, run.summary().tags) == ("x", ["a"])
    succeeded(called("train.py", "resume=run", "training.max_iters=5", "tags=[b]", cwd=tmp_path))
    assert run.summary().tags == ["b"]
