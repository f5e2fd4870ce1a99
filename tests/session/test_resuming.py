"""Going on with a run: what may change, what may not, from where, and by one process at a time."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from gpt.base.errors import UserError
from gpt.data import download
from gpt.models import STAGE
from gpt.registry import Choice
from gpt.runs.folder import FILES, RunFolder
from gpt.session.trained_on import same_corpus
from tests.conftest import REPOSITORY, Script, TrainedOnce, empty_run, refused, succeeded
from tests.extras import require_extra
from tests.faults.trials import tree
from tests.results import content

LONGER = ["training.max_iters=60", "training.eval_interval=20"]
SHORT = [
    "model=v1",
    *LONGER,
    "training.eval_iters=2",
    "training.batch_size=8",
    "device=cpu",
    "checkpoint.interval=10",
    "checkpoint.min_seconds=0",
]


@pytest.fixture
def finished(trained_run: TrainedOnce) -> Path:
    return trained_run("v1", *LONGER)


def trained(called: Script, cwd: Path, *arguments: str) -> str:
    """What train.py prints; it succeeds."""
    done = succeeded(called("train.py", *arguments, cwd=cwd))
    return done.stdout


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, as if it had died after iteration 50."""
    run = Path(shutil.copytree(finished, tmp_path / "run with spaces and ü"))
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "00000060")
    return run


def test_a_run_ends_as_if_it_had_never_stopped(called: Script, finished: Path, run: Path) -> None:
    assert RunFolder(finished).checkpoints() == [50, 60]
    log = (run / "train.log").read_bytes()
    assert "from iteration 50" in trained(called, run.parent, f"resume={run}")
    assert (run / "train.log").read_bytes().startswith(log)
    for name in ("metrics.jsonl", "best.safetensors", "last.safetensors", "sample.txt"):
        assert content(run / name) == content(finished / name)
    assert {"training.max_iters=60", "data=text"} <= set(RunFolder(run).summary().changed)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("model=v2", "model="),
        ("experiment=v7_cpu", "experiment="),
        ("seed=8", "seed=8"),
        ("training.learning_rate=0.5", "training.learning_rate=0.5"),
        ("training.eval_iters=3", "training.eval_iters=3"),
        ("data=shakespeare", "data=shakespeare"),
        ("optimizer=sgd", "optimizer=sgd"),
        ("training.max_iters=10", "training.max_iters=60"),
        ("training.seconds=10", "training.seconds="),
        ("stage=v1", "stage=v1"),
        ("hydra.run.dir=elsewhere", "hydra.run.dir="),
        ("resume=absent", "absent"),
        ("resume=empty", "resume=empty"),
    ],
)
def test_a_resumed_run_keeps_its_settings(called: Script, run: Path, change: str, word: str) -> None:
    for name in ("empty", "elsewhere"):  # Hydra would make the latter.
        (run.parent / name).mkdir()
    before = tree(run.parent)
    resume = [] if change.startswith("resume=") else [f"resume={run}"]
    refused(called("train.py", *resume, change, cwd=run.parent), word)
    assert tree(run.parent) == before


def test_a_resumed_run_takes_keys_without_effect_on_results(called: Script, run: Path) -> None:
    aside = ["logger=csv", "metrics=accuracy", "checkpoint.keep=5", "tags=[a]", "training.learning_rate=0.001"]
    trained(called, run.parent, f"resume={run}", *aside)
    config, summary = RunFolder(run).config(), RunFolder(run).summary()
    assert (config.checkpoint.keep, config.tags, summary.tags, [*summary.metrics]) == (5, ["a"], ["a"], ["accuracy"])
    assert (run / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("setting", "word"), [("schedule=cosine", "length"), ("training.average_last=0.5", "training.average_last=")]
)
def test_a_run_whose_settings_depend_on_its_length_cannot_grow(
    called: Script, trained_run: TrainedOnce, setting: str, word: str
) -> None:
    run = trained_run("v1", LONGER[0], setting)
    refused(called("train.py", f"resume={run}", "training.max_iters=100", cwd=run.parent), word)


@pytest.mark.parametrize("length", [["training.max_iters=30"], ["training.epochs=0.03"]])
def test_a_run_that_grows_equals_one_long_run(
    called: Script, corpus_file: Path, tmp_path: Path, length: list[str]
) -> None:
    short = [setting for setting in at(corpus_file) if not setting.startswith("training.max_iters")]
    (key, value), windows = length[0].split("="), "training.windows=shuffled"
    trained(called, tmp_path, *short, windows, f"{key}={float(value) / 2 if '.' in value else int(value) // 2}")
    trained(called, tmp_path, "resume=DIR", *length)
    trained(called, tmp_path, *short, windows, *length, "hydra.run.dir=whole")
    weights = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("DIR", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("lost", [{"checkpoints"}, {"state.safetensors", "summary.json"}])
def test_results_are_never_trained_over(called: Script, finished: Path, tmp_path: Path, lost: set[str]) -> None:
    shutil.copytree(finished, tmp_path / "R", ignore=lambda *_: lost)
    before = tree(tmp_path)
    done = called("train.py", "resume=R", "training.max_iters=90", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: R ")
    assert "checkpoint" in last
    assert tree(tmp_path) == before


def test_a_run_that_died_before_its_first_checkpoint_starts_again(
    called: Script, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "R").mkdir()
    for name in ("config.yaml", "tokenizer.json", "best.safetensors", "metrics.jsonl", "run.json", ".lock"):
        shutil.copy(finished / name, tmp_path / "R")
    trained(called, tmp_path, "resume=R")
    for name in ("metrics.jsonl", "last.safetensors"):
        assert content(tmp_path / "R" / name) == content(finished / name)


def test_auto_finds_the_run_or_starts_one(called: Script, corpus_file: Path, run: Path) -> None:
    """A run that cannot be read keeps no other from going on, and of a shorter run the length grows."""
    place = run.parent / "runs" / "day"
    place.mkdir(parents=True)
    run.rename(place / "run")
    broken = Path(shutil.copytree(place / "run", place / "unreadable"))  # later in the order of names
    (broken / "config.yaml").write_text("stage: v1\n")
    command = [*SHORT, "data=text", f"data.path={corpus_file}", "resume=auto", "training.max_iters=70"]
    done = called("train.py", *command, cwd=run.parent)
    assert "resuming runs/day/run from iteration 50" in done.stdout, done.stderr
    assert "unreadable" in done.stderr  # a warning names it
    for changed in ([], ["training.learning_rate=0.5"]):  # That one is finished now, or has other settings.
        assert "resuming" not in trained(called, run.parent, *command, *changed)
    assert len(list(run.parent.glob("runs/*/*/summary.json"))) == 3


def test_auto_goes_on_in_a_given_folder(called: Script, corpus_file: Path, run: Path, tmp_path: Path) -> None:
    run.rename(tmp_path / "DIR")
    before = tree(tmp_path)
    for command in (at(corpus_file), at(corpus_file, "resume=auto", "training.learning_rate=0.5")):
        refused(called("train.py", *command, cwd=tmp_path), "resume=auto")
    assert tree(tmp_path) == before
    assert "resuming DIR from iteration 50" in trained(called, tmp_path, *at(corpus_file, "resume=auto"))
    assert "DIR is finished" in trained(called, tmp_path, *at(corpus_file, "resume=auto"))


@pytest.mark.slow
def test_every_file_of_a_run_is_in_the_table(called: Script, corpus_file: Path, finished: Path, tmp_path: Path) -> None:
    profile = [
        "+logger.profile._target_=gpt.watching.profiling.Profile",
        "+logger.profile.skip=1",
        "+logger.profile.steps=1",
    ]
    require_extra("tensorboard")
    every = ["training.average_last=1.0", "checkpoint.snapshots=2", "logger=[csv,tensorboard]", f"init={finished}"]
    corpus = ["data=text", f"data.path={corpus_file}"]
    trained(called, tmp_path, *every, *profile, *corpus, "training.max_iters=4", "hydra.run.dir=DIR")
    names = {path.name for path in (tmp_path / "DIR").iterdir() if not path.name.startswith(".")}
    assert names == {file.name for file in FILES}


def test_a_finished_run_stays_byte_for_byte(called: Script, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "R")
    before = tree(tmp_path)
    succeeded(called("train.py", "resume=R", cwd=tmp_path))
    refused(called("train.py", "resume=R/checkpoints/00000050", cwd=tmp_path), "R/checkpoints/00000050")
    assert tree(tmp_path) == before


def at(corpus_file: Path, *more: str) -> list[str]:
    """A training that belongs at the place `DIR`."""
    return [*SHORT, "data=text", f"data.path={corpus_file}", "hydra.run.dir=DIR", *more]


def test_one_process_at_a_time(called: Script, run: Path) -> None:
    with RunFolder(run).locked():
        refused(called("train.py", f"resume={run}", cwd=run.parent), str(run))


@pytest.mark.slow
def test_a_sweep_goes_on_from_its_folder(called: Script, script: Script, corpus_file: Path, tmp_path: Path) -> None:
    short = ["training.max_iters=2", "training.eval_iters=1", "data=text", f"data.path='{corpus_file}'"]
    trained(script, tmp_path, "-m", "v1", *short, "seed=1,2", "tags=[a]", "hydra.sweep.dir=a sweep")
    sweep = tmp_path / "a sweep"
    kept, lost = (sweep / f"00{number}_v1_seed{number + 1}" for number in (0, 1))
    before = (kept / "summary.json").read_bytes()
    expected = content(lost / "metrics.jsonl")
    shutil.rmtree(lost)
    trained(script, tmp_path, "resume=a sweep")
    assert ((kept / "summary.json").read_bytes(), content(lost / "metrics.jsonl")) == (before, expected)
    record = sweep / "sweep.json"
    record.write_text(record.read_text().replace('"tags": "[a]"', '"hydra.callbacks.x._target_": "os.getcwd"'))
    trained(script, tmp_path, "resume=a sweep")  # a stranger's settings of Hydra are not taken
    record.write_text("hydra: 5")
    done = called("train.py", "resume=a sweep", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "sweep.json" in done.stderr


@pytest.mark.slow
def test_a_signal_stops_all_of_a_sweep(corpus_file: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(REPOSITORY / "train.py"),
        "-m",
        *SHORT,
        "training.max_iters=100000",
        "seed=1,2",
        "data=text",
        f"data.path='{corpus_file}'",
        "hydra.sweep.dir=sweep",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "sweep" / "000_v1_seed1" / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.count("\n") == 1
    assert err.endswith(" python train.py resume=sweep\n")
    assert [path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()] == ["000_v1_seed1"]


@pytest.mark.slow
def test_a_job_of_a_sweep_is_known_by_its_configuration(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    sweep = [
        "-m",
        *SHORT,
        "training.max_iters=4",
        "data=text",
        f"data.path='{corpus_file}'",
        "resume=auto",
        "hydra.sweep.dir=S",
    ]
    trained(called, tmp_path, *sweep, "training.learning_rate=1e-3,3e-3")
    assert trained(called, tmp_path, *sweep, "training.learning_rate=1e-4,1e-3,3e-3").count(" is finished; ") == 2
    rates = [RunFolder(path.parent).config().training.learning_rate for path in tmp_path.rglob("summary.json")]
    assert sorted(rates) == [1e-4, 1e-3, 3e-3]
    for finished in (1, 2):  # also by what a search ignores, if the jobs differ in it
        assert trained(called, tmp_path, *sweep, "checkpoint.keep=2,3").count(" is finished; ") == finished


@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_is_a_warning(script: Script, corpus_file: Path, tmp_path: Path) -> None:
    done = succeeded(script("train.py", *at(corpus_file), cwd=tmp_path, MPLBACKEND="bogus"))
    assert "loss curve" in done.stderr
    assert RunFolder(tmp_path / "DIR").summary().iterations == 60


@pytest.mark.slow
def test_no_worker_of_a_parallel_sweep_outlives_it(corpus_file: Path, tmp_path: Path) -> None:
    sweep = [
        sys.executable,
        str(REPOSITORY / "train.py"),
        "-m",
        *SHORT,
        "seed=1,2,3",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "data=text",
        f"data.path='{corpus_file}'",
        "hydra.sweep.dir=S",
    ]
    endless = ["training.max_iters=1000000", "checkpoint.interval=1000000", "training.eval_interval=1000000"]
    process = subprocess.Popen([*sweep, *endless], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("S/*/metrics.jsonl"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()  # on a signal it leaves at once, too
    process.wait(30)
    runs = [RunFolder(path.parent) for path in tmp_path.glob("S/*/metrics.jsonl")]
    while not all(run.checkpoints() and not run.lock.is_taken() for run in runs):  # each was stopped and saved
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len([path for path in (tmp_path / "S").iterdir() if path.is_dir()]) == 2  # no job began after it


def with_corpus(run: Path, path: Path) -> None:
    """Make the configuration name another corpus, as a stranger could."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["path"] = str(path)
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture
def moved(finished: Path, corpus_file: Path, tmp_path: Path) -> Path:
    """A project's folder with a corpus and a finished run in runs/R that names it by a relative path."""
    (tmp_path / "project").mkdir()
    shutil.copy(corpus_file, tmp_path / "project" / "corpus.txt")
    with_corpus(Path(shutil.copytree(finished, tmp_path / "project" / "runs" / "R")), Path("corpus.txt"))
    return tmp_path / "project"


RESUMED, EVALUATED = ["train.py", "resume=runs/R", "training.max_iters=80"], ["evaluate.py", "run=runs/R"]


@pytest.mark.parametrize("command", [RESUMED, EVALUATED], ids=["train", "evaluate"])
def test_a_corpus_is_known_by_its_content(called: Script, moved: Path, command: list[str]) -> None:
    copy = Path(shutil.copytree(moved, moved.parent / "copy"))
    before = tree(moved / "runs")
    (moved / "corpus.txt").rename(moved / "elsewhere.txt")  # so that the copy does not find it
    os.utime(copy / "corpus.txt", (0, 0))
    succeeded(called(*command, cwd=copy))
    (moved / "other.txt").write_text("another text " * 200)
    group = ["data=text"] if command == RESUMED else []
    for named, word in (([], "corpus.txt"), ([*group, "data.path=other.txt"], "runs/R")):
        done = called(*command, *named, cwd=moved)
        refused(done, word)
        assert "data.path=PATH" in done.stderr
        assert "data=text" in done.stderr
        assert tree(moved / "runs") == before
    succeeded(called(*command, *group, "data.path=elsewhere.txt", cwd=moved))
    if command == RESUMED:  # from now on the run knows the place
        assert called(*EVALUATED, cwd=moved).returncode == 0


def test_downloads_ignore_the_folder_that_a_run_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's run could name any folder; the user's own is used instead."""
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path / "own"))
    places = []
    monkeypatch.setattr(download, "_receive", lambda url, path: places.append(path))
    run = empty_run(tmp_path / "run")
    theirs = Choice(_target_="gpt.data.corpora.enwik8", dir=str(tmp_path), tokenizer="bytes", vocab_size=1000)
    with pytest.raises(UserError, match="enwik8"):
        same_corpus(run, STAGE.find(Choice(_target_="gpt.models.v1_bigram.Bigram")), theirs)
    assert [place.parent for place in places] == [tmp_path / "own"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["schedule=cosine", "schedule.warmup_iters=9999"], "warmup"),
        (["optimizer=muon", "optimizer.momentum=2"], "optimizer.momentum=2"),
        (["metrics=accuracy", "metrics.accuracy.extra=1"], "metrics.accuracy"),
    ],
)
def test_hyperparameters_are_checked_before_a_corpus_is_fetched(
    called: Script, tmp_path: Path, wrong: list[str], message: str
) -> None:
    done = called("train.py", *wrong, "data=enwik8", "data.dir=absent", "device=cpu", cwd=tmp_path)
    refused(done, message)
    assert "download" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_v9_with_all_its_settings_resumes_to_the_bit(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    options = ["model=v9", "model.block_size=16", "model.n_embd=16", "model.n_head=2", "model.n_layer=1",
               "model.ngrams=3", "model.memory=5000", "training.multi_token=0.3",
               "training.windows=shuffled", "training.short_window=4", "training.short_iters=8",
               "training.average_last=0.5", "training.eval_interval=5", "training.eval_iters=2",
               "training.recompute=true", "training.sample_interval=1",
               "checkpoint.interval=5", "checkpoint.min_seconds=0", "checkpoint.keep=9",
               "data=text", f"data.path={corpus_file}", "device=cpu", "training.max_iters=20"]  # fmt: skip
    whole = trained(called, tmp_path, *options, "hydra.run.dir=whole", "target=0.5")
    assert "  | " in (tmp_path / "whole" / "train.log").read_text()  # the samples
    assert re.search(r"target 0\.5000 nats per character missed after \d+\.\d s of training steps and their", whole)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "summary.json").unlink()
    for name in ("00000010", "00000015", "00000020"):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / name)
    cut = trained(called, tmp_path, "resume=cut", "target=4.5")
    assert "resuming cut from iteration 5" in cut
    assert "target 4.5000 nats per character reached after" in cut
    for name in ("last.safetensors", "averaged.safetensors", "metrics.jsonl", "sample.txt"):
        assert content(tmp_path / "cut" / name) == content(tmp_path / "whole" / name)
    summary = RunFolder(tmp_path / "cut").summary()
    assert (summary.target, 0 < (summary.counted_seconds or 0) < 60) == (4.5, True)
