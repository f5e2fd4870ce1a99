"""The file that compare.py writes: what its ending asks for, in place of an earlier one."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.conftest import Script, TrainedOnce, refused, succeeded
from tests.faults.trials import tree
from tests.reports.test_ranking import RUN, copies


def test_the_ending_of_a_file_says_what_is_in_it(called: Script, trained_run: TrainedOnce, tmp_path: Path) -> None:
    for stage, loss in (("v1", 2.0), ("v5", 1.0)):
        copies(tmp_path / "runs" / stage, {"0.001": [loss, loss], "0.1": [loss, loss]}, trained_run(stage))
    for name in ("t.md", "t.tex", "t.csv", "runs.csv"):
        done = succeeded(called("compare.py", "metric=val", f"out=new/{name}", cwd=tmp_path))
        assert done.stdout.endswith(f"\nwritten: new/{name}\n")
    new = tmp_path / "new"
    assert "| v5 " in (new / "t.md").read_text()
    table = (new / "t.tex").read_text()
    assert all(rule in table for rule in (r"\toprule", r"learning\_rate", "& 2 ", "±", r"\bottomrule"))
    groups = [*csv.DictReader((new / "t.csv").open())]
    assert [(row["stage"], row["seeds"]) for row in groups] == [("v5", "2")] * 2 + [("v1", "2")] * 2
    rows = [*csv.DictReader((new / "runs.csv").open())]
    assert [(tmp_path / row["folder"] / "summary.json").exists() for row in rows] == [True] * 8


def test_without_a_file_nothing_is_written(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    before = tree(tmp_path)
    assert "out=table.md" in succeeded(called("compare.py", cwd=tmp_path)).stdout
    refused(called("compare.py", "by=lr", cwd=tmp_path), "out=by.png")
    done = called("compare.py", "by=lr", "out=lr.png", cwd=tmp_path)
    assert (done.returncode, "by=lr" in done.stderr) == (2, True)
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_a_slide_is_one_file(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    for name, beginning in (("s.svg", b"<?xml"), ("s.PNG", b"\x89PNG"), ("s.pdf", b"%PDF")):
        done = succeeded(called("compare.py", f"out=slides/{name}", "title=What is it worth?", cwd=tmp_path))
        assert done.stdout.endswith(f"written: slides/{name}\n")
        assert (tmp_path / "slides" / name).read_bytes().startswith(beginning)
    before = (tmp_path / "slides" / "s.svg").read_bytes()
    succeeded(called("compare.py", "out=slides/s.svg", "title=Other", cwd=tmp_path))
    assert (tmp_path / "slides" / "s.svg").read_bytes() != before
    assert len([*(tmp_path / "slides").iterdir()]) == 3


def test_where_nothing_can_be_written_is_said_before_the_tables(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    (tmp_path / "x.png").mkdir()
    (tmp_path / "notes").touch()
    for out, word in (("x.png", "x.png"), ("notes/x.png", "notes"), ("x.gif", "x.gif"), ("notes/x.csv", "notes")):
        refused(called("compare.py", f"out={out}", cwd=tmp_path), word)


def test_several_stages_are_chosen_together(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    done = called("compare.py", "stage=v1,v6,v5", cwd=tmp_path)
    assert "1 run on corpus.txt" in done.stdout


def test_damaged_runs_alone_are_an_error(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    (tmp_path / "runs" / "a" / "tokenizer.json").write_text("{}")
    done = called("compare.py", cwd=tmp_path)
    assert (done.returncode, "runs/a/tokenizer.json" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_loss_is_drawn_against_a_key_of_the_corpus(called: Script, tmp_path: Path) -> None:
    """In one picture of all runs, although losses over different texts are in tables of their own."""
    swept = ["-m", "model=v1", "data=recall", "data.distance=0,3", "data.size=100", "model.block_size=16"]
    short = ["training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1", "hydra.sweep.dir=runs"]
    succeeded(called("train.py", *swept, *short, cwd=tmp_path))
    done = succeeded(called("compare.py", "by=distance", "out=by.png", cwd=tmp_path))
    assert (tmp_path / "by.png").read_bytes().startswith(b"\x89PNG")
    assert done.stdout.count("1 run on recall, distance=") == 2
