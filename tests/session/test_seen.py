"""A model is not scored on what it was trained on without a word."""

import json
import logging
import random
from pathlib import Path

import pytest

import gpt
from gpt.base.command_schemas import EvaluateConfig
from gpt.cli.composing import composed
from gpt.cli.requesting import of_python
from gpt.reports.ranking import rankings
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.session.measuring import Measured, measured
from gpt.session.train import main
from gpt.session.trained import load_run

SHORT = ["training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1", "checkpoint.interval=1"]


@pytest.fixture(scope="module")
def folder(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two files, and runs that start from its weights."""
    folder = tmp_path_factory.mktemp("seen")
    first, second = folder / "first.txt", folder / "second.txt"
    first.write_text(text[:8_000])
    second.write_text(text[8_000:])

    def train(name: str, *overrides: str) -> None:
        main(*of_python([*SHORT, *overrides, f"hydra.run.dir='{folder / name}'"]))

    train("parent", "model=v1", "data=text", f"data.path=[{first},{second}]")
    parent = f"init='{folder / 'parent'}'"
    train("same", parent)
    train("shorter", parent, "data.train_fraction=0.3")
    train("reordered", parent, "data=text", f"data.path=[{second},{first}]")
    train("grandchild", f"init='{folder / 'shorter'}'", "data.train_fraction=0.4")
    (folder / "other.txt").write_text(text[::-1])
    train("other", parent, "data=text", f"data.path='{folder / 'other.txt'}'")
    return folder


def evaluated(run: Path, *overrides: str) -> Measured:
    config = EvaluateConfig.model_validate(composed("evaluate", list(overrides))[0])
    return measured(load_run(run), config, [override.partition("=")[0] for override in overrides])


def test_a_fork_tells_what_of_its_validation_split_its_weights_were_trained_on_and_is_not_ranked_then(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seen in (
        ("same", None), ("other", None),
        ("shorter", "12,000 of 14,001 characters of the validation split"),  # of 20,001, 18,000 to train on
        ("reordered", "2,001 of 2,001 characters of the validation split"),
        ("grandchild", "10,000 of 12,001 characters of the validation split"),
    ):  # fmt: skip
        told = [change for change in RunFolder(folder / name).summary().changes if "training split" in change]
        assert told == ([f"{seen} were in the training split of {folder / 'parent'}"] if seen else [])
    with caplog.at_level(logging.WARNING):
        ranked = rankings(finished_runs(folder), "exact")
    names = {run.path.name for ranking in ranked for group in ranking.groups for run, _ in group.runs}
    assert names == {"parent", "same", "other"}
    assert sum("is not ranked: " in record.message for record in caplog.records) == 3


def test_an_evaluation_tells_what_of_the_text_the_run_was_trained_on(folder: Path, text: str, tmp_path: Path) -> None:
    held_out, excerpt = tmp_path / "held out.txt", tmp_path / "excerpt.txt"
    held_out.write_text(text[18_000:])
    excerpt.write_text(text[17_000:19_000])
    for run in ("parent", "same"):
        assert evaluated(folder / run, f"text='{held_out}'").exact.over.seen is None
        found = evaluated(folder / run, f"text='{excerpt}'")
        assert "trained on" in found.table()
        assert json.loads(found.as_json())["trained_on"]["count"] == 999  # and a newline between the files
    assert evaluated(folder / "parent").exact.over.seen is None
    assert "10,000 of 12,001" in evaluated(folder / "grandchild").table()


def test_an_ancestor_that_was_extended_is_known_by_what_it_was_trained_on(folder: Path) -> None:
    before = RunFolder(folder / "parent").weights("best").read_bytes()
    main(*of_python([f"resume='{folder / 'parent'}'", "training.max_iters=2"]))
    assert RunFolder(folder / "parent").weights("best").read_bytes() != before
    assert "10,000 of 12,001" in evaluated(folder / "grandchild").table()


def test_nothing_is_said_where_nothing_can_be_known(folder: Path, text: str, tmp_path: Path) -> None:
    """The files that the run was trained on are gone."""
    gone = folder / "first.txt"
    content = gone.read_bytes()
    (tmp_path / "own.txt").write_bytes(content)
    gone.unlink()
    try:
        assert evaluated(folder / "parent", f"text='{tmp_path / 'own.txt'}'").exact.over.seen is None
    finally:
        gone.write_bytes(content)


def test_a_validation_split_that_stands_in_the_training_split_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    draw = random.Random(1)
    part, other = ("".join(draw.choices("abcdefgh ", k=size)) for size in (2000, 20_000))
    for first, is_said in ((part, True), (part[::-1], False)):
        (tmp_path / "text.txt").write_text(first + other + part)
        gpt.train("v1", "data=text", f"data.path={tmp_path / 'text.txt'}", *SHORT, folder=tmp_path / f"run{is_said}")
        said = "2,000 of the 2,400 characters to validate on stand in the training split, too"
        assert (said in capsys.readouterr().err) == is_said
