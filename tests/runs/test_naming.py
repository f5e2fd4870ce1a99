"""Runs by what people call them: one resolver, and every command that takes a run."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import gpt
from gpt.runs.folder import RunFolder
from gpt.runs.naming import resolve_runs as folders_called
from tests.conftest import REPOSITORY, Script, TrainedOnce, refused, succeeded

FINISHED = REPOSITORY / "tests" / "runs" / "formats" / "1.0.0"
STAGE = RunFolder(FINISHED).config().stage


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of these names and losses, the newest first; two of a sweep, the last of other text."""
    monkeypatch.chdir(tmp_path)
    for age, (folder, name, nats, over) in enumerate(
        (
            ("c", "twice", 3.0, {}),
            ("a", "my_best", 2.0, {}),
            ("b", "twice", 1.5, {}),
            ("wide/0", None, 1.0, {}),
            ("wide/1", None, 1.2, {}),
            ("d", None, 0.5, {"corpus": "other"}),
        )
    ):
        run = RunFolder(Path(shutil.copytree(FINISHED, tmp_path / "runs" / folder)))
        summary = run.summary()
        loss = summary.exact.model_copy(update={"nats": nats, "over": summary.exact.over.model_copy(update=over)})
        changed = {"exact": loss, "finished": summary.finished + timedelta(hours=10 - age)}
        run.write_summary(summary.model_copy(update=changed))
        run.update(name=name)
    (tmp_path / "runs" / "wide" / "sweep.json").touch()
    return tmp_path


def one(typed: str, runs: str = "runs") -> str:
    return str(folders_called(typed, runs, one=True)[0]).removeprefix("runs/")


def test_a_name_stands_for_the_run_that_it_says(place: Path, capsys: pytest.CaptureFixture) -> None:
    names = {"my_best": "a", "last": "c", STAGE: "c", "wide": "wide/0", "runs/wide": "wide/0", "runs/b": "b"}
    assert {typed: one(typed) for typed in names} == names
    assert "wide: runs/wide/0, 1.0000 nats per character, the lowest of 2 runs\n" in capsys.readouterr().err
    for typed, words in (
        ("twice", "runs/c or runs/b"),
        ("zz", "last, best, twice, my_b"),
        ("y_b", "no run of that name; in runs there is my_best, last"),
        ("best", r"runs/d \(0\.5.* runs/wide/0 \(1\.0000 "),
    ):
        with pytest.raises(gpt.UserError, match=words):
            one(typed)
    assert [*map(str, folders_called("twice") + folders_called("wide"))] == ["runs/c", "runs/b", "runs/wide"]
    assert len(folders_called(STAGE)) == 6
    shutil.rmtree("runs/d")
    assert one("best") == "wide/0"
    RunFolder(Path("runs/a")).update(name="last")
    assert one("last") == "a"  # a run's own name comes before the others
    Path("runs/b").rename("runs/ablation_b")
    with pytest.raises(gpt.UserError, match="no folder b "):
        one("b")


@pytest.mark.parametrize("typed", ["my_best", "last", "best", STAGE, "wide", "zz"])
def test_a_path_that_exists_always_wins(typed: str, place: Path) -> None:
    for make, remove in ((Path(typed).mkdir, Path(typed).rmdir), (Path(typed).touch, Path(typed).unlink)):
        make()
        assert (one(typed), folders_called(typed)) == (typed, [Path(typed)])
        remove()


def test_a_search_stands_for_its_run_of_the_lowest_loss(place: Path) -> None:
    Path("runs/wide/sweep.json").rename("runs/wide/study.db")
    assert one("wide") == "wide/0"


def test_every_command_takes_the_name_of_a_run(
    called: Script, trained_run: TrainedOnce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(name: str, *words: str) -> str:
        finished = succeeded(called(name if ".py" in name else "gpt/__main__.py", *words, cwd=tmp_path))
        return finished.stdout + finished.stderr

    for name in ("one", "other"):
        shutil.copytree(trained_run("v2"), tmp_path / "runs" / name)
    done("gpt", "name", "runs/one", "my_best")
    assert "weights of runs/one\n" in done("generate.py", "my_best", "a", "tokens=2")
    assert "of runs/one, val split" in done("evaluate.py", "my_best")
    assert "written: runs/one/script" in done("export.py", "my_best", "script")
    assert "same settings and seed: runs/one" in done("compare.py", "my_best", "runs/other")
    assert [line.endswith("runs/one") for line in done("gpt", "runs", "my_best").splitlines() if " seed " in line]
    done("train.py", "init=my_best", "training.max_iters=2", "name=forked", "hydra.run.dir=runs/forked")
    forked = RunFolder(tmp_path / "runs" / "forked")
    assert (forked.config().init, (parent := forked.record().parent) and parent.run) == ("runs/one", "runs/one")
    done("train.py", "resume=forked", "training.max_iters=3")
    done("gpt", "tag", "runs=forked,my_best", "golden", "wide")
    done("gpt", "tag", "forked", "-wide")
    tags = [RunFolder(tmp_path / "runs" / name).config().tags for name in ("forked", "one", "other")]
    assert tags == [["golden"], ["golden", "wide"], []]
    monkeypatch.chdir(tmp_path)
    assert gpt.load("forked").folder == gpt.load("last").folder == Path("runs/forked")
    refused(called("gpt/__main__.py", "runs", "my_bets", cwd=tmp_path), "my_bets")
    with Path("prompt").open("w+") as prompt:
        prompt.write("ab\n")
        prompt.seek(0)
        monkeypatch.setattr("sys.stdin", prompt)
        assert "\nab" in f"\n{done('generate.py', 'my_best', 'tokens=2')}"


def test_names_are_looked_up_where_runs_says(called: Script, place: Path) -> None:
    (place / "runs").rename(place / "kept")
    (place / "other").mkdir()
    (place / "where.yaml").write_text("runs: kept\nmodel: v1")
    for words in ("my_best runs=kept", "run=my_best runs=kept,other", "runs=[other,kept] my_best"):
        assert "weights of kept/a\n" in succeeded(called("generate.py", *words.split(), "tokens=2", cwd=place)).stderr
    (place / "text.txt").write_text("abc abc " * 9)
    done = succeeded(called("evaluate.py", "my_best", "text.txt", "runs=kept", cwd=place))
    assert "of kept/a, the text text.txt" in done.stderr
    refused(called("train.py", "init=my_best", "v1", cwd=place), "my_best")
    for words in ("init=my_bets runs=kept", "where.yaml init=my_bets"):
        refused(called("train.py", *words.split(), cwd=place), "my_best")
    assert gpt.load("my_best", runs="kept").folder == Path("kept/a")
    refused(called("train.py", "resume=nope", "runs=kept", cwd=place), "kept")


def test_one_of_two_sweeps_of_a_name_must_be_told(called: Script, place: Path) -> None:
    shutil.copytree("runs/wide", "runs/monday/wide")
    refused(called("train.py", "resume=wide", cwd=place), "runs/monday/wide")
