"""compare.py's files: they replace those of an earlier comparison and nothing else, and show what was asked for."""

import contextlib
import csv
import dataclasses
import errno
import itertools
import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from gpt.base.errors import RequestError
from gpt.base.pictures import FORMATS, picture, write_picture
from gpt.reports import comparison, plots
from gpt.reports.comparison import ComparisonReport
from tests.conftest import Script, TrainedOnce, compare_config, refused, succeeded
from tests.faults.trials import tree
from tests.reports.test_ranking import RUN, copies


@pytest.fixture
def report(tmp_path: Path) -> ComparisonReport:
    runs = copies(tmp_path / "runs", {"0.1": [2.0], "0.2": [1.0]})
    report = ComparisonReport.of(runs, [], compare_config(by=["learning_rate"]))
    return dataclasses.replace(report, ranked=[*report.rankings, *report.rankings])


OWN = ["compare.csv", "compare.json", "compare.md", "compare.png", "compare_by_1.png", "compare_by_9.png"]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("beside", [False, True])
def test_a_picture_or_table_of_the_users_own_is_not_replaced(
    name: str, beside: bool, report: ComparisonReport, tmp_path: Path
) -> None:
    """Nor beside the files of a comparison, nor if a comparison wrote it and the user has edited it."""
    out = tmp_path / "out"
    out.mkdir()
    for content in (b"precious", b"edited"):
        if beside:
            report.write(out)
        own = (out / name).read_bytes() + b"!" if content == b"edited" and (out / name).exists() else content
        (out / name).write_bytes(own)
        before = tree(out)
        with pytest.raises(RequestError, match=f"{name} is not as compare.py has written it, and is not replaced"):
            report.write(out)
        assert tree(out) == before
        shutil.rmtree(out)
        out.mkdir()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_slide_replaces_only_a_slide_that_nobody_has_changed(
    kind: str, report: ComparisonReport, tmp_path: Path
) -> None:
    path = tmp_path / f"thesis.{kind}"
    report.write_picture(path)
    report.write_picture(path)
    ours = path.read_bytes()
    figure = plots.draw(report.comparison, report.rankings, "iterations")
    assert figure is not None
    for own in (b"", b"precious", picture(figure, kind), ours + b"\n", ours.replace(b"e", b"a", 1)):
        path.write_bytes(own)
        with pytest.raises(RequestError, match=r"is not as compare\.py has written it"):
            report.write_picture(path)
        assert path.read_bytes() == own
    path.write_bytes(ours)
    with pytest.raises(RequestError, match=r"is not as search\.py has written it"):
        write_picture(path, figure, "search.py")
    (tmp_path / "own").write_bytes(ours)
    for make in (lambda: path.symlink_to(tmp_path / "own"), path.mkdir, lambda: os.mkfifo(path)):
        path.rmdir() if path.is_dir() else path.unlink()
        make()
        with pytest.raises(RequestError, match=r"is not as compare\.py has written it"):
            report.write_picture(path)


def test_a_sealed_picture_is_still_a_picture(report: ComparisonReport, tmp_path: Path) -> None:
    for kind in FORMATS:
        report.write_picture(tmp_path / f"slide.{kind}")
    with Image.open(tmp_path / "slide.png") as image:
        image.load()
        assert image.text["Comment"].startswith("written by compare.py of gpt-ladder")
    ElementTree.parse(tmp_path / "slide.svg")
    assert b"%%EOF" in (tmp_path / "slide.pdf").read_bytes()[-1024:]


@pytest.mark.parametrize("whole", [0, 1, 2, 3])
def test_a_comparison_that_a_full_disk_cut_off_is_replaced(
    whole: int, report: ComparisonReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, count = tmp_path / "out", itertools.count()

    def write(path: Path, content: str) -> None:
        if next(count) == whole:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(content.encode())

    report.write(out)
    other = dataclasses.replace(report, ranked=report.rankings)  # with other tables
    with monkeypatch.context() as full:
        full.setattr(comparison, "write_atomically", write)
        with pytest.raises(OSError, match="No space") if whole < 3 else contextlib.nullcontext():
            other.write(out)
    written = report.write(out)
    assert written == [out / f"compare{end}" for end in (".json", ".md", ".csv", ".png", "_by_1.png", "_by_2.png")]
    assert {*out.iterdir()} == {*written}


def test_compare_writes_tables_and_pictures(called: Script, trained_run: TrainedOnce, tmp_path: Path) -> None:
    for stage, loss in (("v1", 2.0), ("v5", 1.0)):
        copies(tmp_path / "runs" / stage, {"0.001": [loss, loss], "0.1": [loss, loss]}, trained_run(stage))
    shutil.copytree(RUN, tmp_path / "other")
    arguments = ["runs=runs,other", "by=[learning_rate,stage]", "out=out", "x=seconds", "metric=val"]
    succeeded(
        called("compare.py", *arguments, cwd=tmp_path)
    )  # although nothing varies among the runs of the other text
    before = tree(tmp_path / "out")
    done = called("compare.py", "runs=other", "by=learning_rate", "out=out", cwd=tmp_path)
    assert (done.returncode, tree(tmp_path / "out")) == (2, before)
    assert "by=learning_rate does not vary between these runs; these keys do: none" in done.stderr
    done = succeeded(called("compare.py", *arguments, "tags=[copy]", cwd=tmp_path))
    assert done.stderr == ""
    assert "8 runs on words, and (more).txt" in done.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "compare.csv").open()))
    assert [(tmp_path / row["folder"] / "summary.json").exists() for row in rows] == [True] * 8
    (ranking,) = json.loads((tmp_path / "out" / "compare.json").read_text())["rankings"]
    assert ranking["groups"][0]["standing"] == "best"
    for name in ("compare.png", "compare_by.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert "| v5 " in (tmp_path / "out" / "compare.md").read_text()
    succeeded(called("compare.py", "runs=other", "out=out", cwd=tmp_path))
    assert not (tmp_path / "out" / "compare_by.png").exists()  # it would be beside the tables of other runs


def test_a_slide_is_one_file(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    for name, beginning in (("s.svg", b"<?xml"), ("s.PNG", b"\x89PNG"), ("s.pdf", b"%PDF")):
        done = succeeded(called("compare.py", f"out=slides/{name}", "title=What is it worth?", cwd=tmp_path))
        assert done.stdout.endswith(f"written: slides/{name}\n")
        assert (tmp_path / "slides" / name).read_bytes().startswith(beginning)
    assert len([*(tmp_path / "slides").iterdir()]) == 3


def test_what_is_not_replaced_is_refused_before_the_tables_are_printed(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    (tmp_path / "x.png").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "compare.md").touch()
    for out, message in (
        ("x.png", "x.png is not as compare.py has written it"), ("notes.txt/x.png", "notes.txt is not a folder"),
        ("out", "out/compare.md is not as compare.py has"), ("notes.txt/out", "notes.txt is not a folder"),
    ):  # fmt: skip
        refused(called("compare.py", f"out={out}", cwd=tmp_path), f"error: {message}")


def test_stages_are_chosen_together_and_damaged_runs_alone_are_an_error(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    done = called("compare.py", "stage=v1,v6,v5", cwd=tmp_path)
    assert "1 run on corpus.txt" in done.stdout
    path = tmp_path / "runs" / "a" / "tokenizer.json"
    path.write_text(path.read_text().replace('"characters"', '"Characters"'))
    done = called("compare.py", cwd=tmp_path)
    assert (done.returncode, "damaged" in done.stderr) == (2, True)


def test_the_loss_is_drawn_against_a_key_of_the_corpus(called: Script, tmp_path: Path) -> None:
    """In one picture of all runs, although losses over different texts are in tables of their own."""
    swept = ["-m", "model=v1", "data=recall", "data.distance=0,3", "data.size=100", "model.block_size=16"]
    short = ["training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1", "hydra.sweep.dir=runs"]
    succeeded(called("train.py", *swept, *short, cwd=tmp_path))
    done = succeeded(called("compare.py", "by=distance", cwd=tmp_path))
    assert sorted(path.name for path in (tmp_path / "runs").glob("compare*.png")) == ["compare.png", "compare_by.png"]
    assert done.stdout.count("1 run on recall, distance=") == 2
