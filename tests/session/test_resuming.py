"""Going on with a run: what may change, what may not, from where, and by one process at a time."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

import gpt
from gpt.base.choices import Choice
from gpt.base.errors import UserError
from gpt.base.files import PLACE, sealed
from gpt.cli.requesting import of_python
from gpt.data import download
from gpt.models import STAGE
from gpt.runs.finding import has_same_config, started_runs
from gpt.runs.folder import NAMES, RunFolder
from gpt.runs.formats import to_json
from gpt.runs.records import Labels
from gpt.runs.weights import iteration_of
from gpt.session import train
from gpt.session.continuing import same_corpus
from gpt.session.forking import Fork
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from tests.conftest import REPOSITORY, Script, TrainedOnce, empty_run, refused, succeeded
from tests.faults.trials import tree

LONGER = ["training.max_iters=60", "training.eval_interval=20"]
SHORT = ["model=v1", *LONGER, "training.eval_iters=2", "training.batch_size=8", "device=cpu", "checkpoint.interval=10",
         "checkpoint.min_seconds=0"]  # fmt: skip


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


def test_a_run_ends_as_if_it_had_never_stopped(script: Script, finished: Path, run: Path) -> None:
    assert RunFolder(finished).checkpoints() == [50, 60]
    log = (run / "train.log").read_bytes()
    assert "from iteration 50" in trained(script, run.parent, f"resume={run}")
    assert (run / "train.log").read_bytes().startswith(log)
    for name in ("metrics.jsonl", "best.safetensors", "last.safetensors", "sample.txt"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert {"training.max_iters=60", "data=text"} <= set(RunFolder(run).summary().changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model=v2", "a run with stage=v1 cannot be resumed with stage=v2"),
        ("seed=8", "a run with seed=1337 cannot be resumed with seed=8"),
        ("data=shakespeare", "a run with data=text cannot be resumed with data=shakespeare"),
        ("optimizer=sgd", "a run with optimizer=AdamW cannot be resumed with optimizer=SGD"),
        ("experiment=v7_cpu", "experiment= is for new runs"),
        ("training.max_iters=10", "training.max_iters=10 is before"),
        ("schedule.final=0.5", "schedule=constant has no key final"),
        ("stage=v1", "stage=v1 is set by model=NAME"),
        ("runs=elsewhere", "runs=elsewhere is for new runs"),
        ("hydra.run.dir=elsewhere", "hydra.run.dir=elsewhere is for new runs"),
        ("resume=absent", "there is no folder absent and no run of that name"),
        ("resume=empty", "resume=empty: neither a run folder nor a checkpoint in one"),
    ],
)
def test_what_makes_it_another_run_or_none_is_refused_and_changes_nothing_on_disk(
    called: Script, run: Path, change: str, message: str
) -> None:
    for name in ("empty", "elsewhere"):  # Hydra would make the latter
        (run.parent / name).mkdir()
    before = tree(run.parent)
    resume = [] if change.startswith("resume=") else [f"resume={run}"]
    refused(called("train.py", *resume, change, cwd=run.parent), message)
    assert tree(run.parent) == before


def test_a_run_resumes_with_another_schedule_and_logs_it(called: Script, corpus_file: Path, run: Path) -> None:
    """With more hyperparameters, and then with fewer."""
    optimizer = "optimizer=adamw_transformer"
    change = ["schedule=cosine", "schedule.final=0.1", optimizer, "logger=csv"]
    out = trained(called, run.parent, f"resume={run}", *change, "training.max_iters=100")
    (line,) = [line for line in out.splitlines() if line.startswith("changed for the rest of the run: ")]
    for part in ("schedule=cosine", "schedule.final=0.1", "optimizer.beta2=0.98", "training.max_iters=100"):
        assert part in line.partition(": ")[2].split(", ")
    config = RunFolder(run).config()
    assert config.schedule.target == "gpt.training.schedules.cosine"
    assert config.schedule.hyperparameters == {"warmup_iters": 0, "final": 0.1}
    assert config.optimizer.hyperparameters["beta2"] == 0.98  # of the same kind, with other values
    rates = [evaluation.learning_rates["all"] for evaluation in RunFolder(run).evaluations()]
    assert rates[:3] == [1e-3] * 3  # what was before stays as it was
    assert 1e-4 < rates[-1] < rates[-2] < rates[-3] < 1e-3
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + len(rates)
    again = RunFolder(run.rename(run.parent / "DIR"))
    trained(called, run.parent, *at(corpus_file, "resume=auto", optimizer, "training.max_iters=120"))
    assert again.summary().iterations == 120
    assert again.config().schedule.hyperparameters == {"warmup_iters": 0}


def test_a_run_is_cut_back_to_a_checkpoint_with_all_its_records(
    called: Script, corpus_file: Path, tmp_path: Path
) -> None:
    trained(called, tmp_path, *at(corpus_file, "logger=csv", "checkpoint.keep=10"))
    done = called("train.py", "resume=DIR/checkpoints/00000040", "training.max_iters=40", cwd=tmp_path)
    assert "everything after iteration 40 will be replaced: checkpoint 00000050, 00000060" in done.stderr
    run = RunFolder(tmp_path / "DIR")
    assert run.summary().iterations == 40
    assert max(run.clock()) == 40
    assert (run.path / "metrics.csv").read_text().splitlines()[-1].startswith("40,")


def test_a_damaged_checkpoint_that_was_asked_for_is_refused(called: Script, run: Path) -> None:
    state = run / "checkpoints" / "00000050" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    done = called("train.py", f"resume={state.parent}", cwd=run.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert "state.safetensors is damaged" in done.stderr


@pytest.mark.parametrize(
    ("lost", "change"),
    [
        ({"checkpoints"}, "training.max_iters=20"), ({"checkpoints", "summary.json"}, "training.max_iters=90"),
        ({"state.safetensors"}, "training.max_iters=90"),
    ],
)  # fmt: skip
def test_results_are_never_trained_over(
    called: Script, finished: Path, tmp_path: Path, lost: set[str], change: str
) -> None:
    shutil.copytree(finished, tmp_path / "R", ignore=lambda *_: lost)
    before = tree(tmp_path)
    done = called("train.py", "resume=R", change, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: R has no usable checkpoint, and restarting it would overwrite its results: start a new run elsewhere"
    )
    assert tree(tmp_path) == before
    if "summary.json" not in lost:
        assert "is finished" in called("train.py", "resume=R", cwd=tmp_path).stdout
        assert tree(tmp_path) == before


def test_a_run_that_died_before_its_first_checkpoint_repeats_its_evaluations(
    called: Script, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "R").mkdir()
    for name in ("config.yaml", "tokenizer.json", "best.safetensors", "metrics.jsonl", "commands.jsonl", ".lock"):
        shutil.copy(finished / name, tmp_path / "R")
    before = tree(tmp_path)
    done = called("train.py", "resume=R", "training.learning_rate=0.5", cwd=tmp_path)
    assert done.returncode == 1
    assert "R has no checkpoint yet, and training.learning_rate=0.5 would change its evaluations" in done.stderr
    assert tree(tmp_path) == before
    trained(called, tmp_path, "resume=R")
    for name in ("metrics.jsonl", "last.safetensors"):
        assert (tmp_path / "R" / name).read_bytes() == (finished / name).read_bytes()


def test_auto_finds_the_run_or_starts_one(called: Script, corpus_file: Path, run: Path) -> None:
    """A run that cannot be read, such as one of a version with other keys, keeps no other from going on."""
    place = run.parent / "runs" / "day"
    place.mkdir(parents=True)
    run.rename(place / "run")
    broken = Path(shutil.copytree(place / "run", place / "unreadable"))  # later in the order of names
    (broken / "config.yaml").write_text("stage: v1\n")
    command = [*SHORT, "data=text", f"data.path={corpus_file}", "resume=auto"]
    done = called("train.py", *command, cwd=run.parent)
    assert "resuming runs/day/run from iteration 50" in done.stdout, done.stderr
    assert "unreadable" in done.stderr  # a warning names it
    assert "resuming" not in trained(called, run.parent, *command)  # that one is finished now
    assert len(list(run.parent.glob("runs/*/*/summary.json"))) == 2


def at(corpus_file: Path, *more: str) -> list[str]:
    """A training that belongs at the place `DIR`."""
    return [*SHORT, "data=text", f"data.path={corpus_file}", "hydra.run.dir=DIR", *more]


def test_all_that_a_run_writes_is_known_by_name(
    called: Script, corpus_file: Path, finished: Path, tmp_path: Path
) -> None:
    profile = ["+logger.profile._target_=gpt.watching.profiling.Profile", "+logger.profile.skip=1",
               "+logger.profile.steps=1"]  # fmt: skip
    every = ["training.average_last=1.0", "checkpoint.snapshots=2", "logger=[csv,tensorboard]", f"init={finished}"]
    corpus = ["data=text", f"data.path={corpus_file}"]
    trained(called, tmp_path, *every, *profile, *corpus, "training.max_iters=4", "hydra.run.dir=DIR")
    RunFolder(tmp_path / "DIR").write_labels(Labels(name="a", tags=[]))
    names = {path.name for path in (tmp_path / "DIR").iterdir() if not path.name.startswith(".")}
    assert names == NAMES - {"state.json"}


def test_auto_starts_a_run_where_the_user_says_and_resumes_the_one_there(
    called: Script, corpus_file: Path, run: Path, tmp_path: Path
) -> None:
    out = trained(called, tmp_path, *at(corpus_file, "resume=auto"))
    assert "run folder: DIR" in out
    assert "resuming" not in out
    assert RunFolder(tmp_path / "DIR").summary().iterations == 60
    assert {path.name for path in tmp_path.iterdir()} == {"DIR", run.name}
    before = tree(tmp_path)
    message = "error: DIR already holds a run: resume=auto continues it\n"
    refused(called("train.py", *at(corpus_file), cwd=tmp_path), message)
    assert tree(tmp_path) == before
    shutil.rmtree(tmp_path / "DIR")
    run.rename(tmp_path / "DIR")
    auto = at(corpus_file, "resume=auto", "logger=csv")  # which the run did not have
    assert "resuming DIR from iteration 50" in trained(called, tmp_path, *auto)
    assert len((tmp_path / "DIR" / "metrics.csv").read_text().splitlines()) == 1 + 4
    assert "DIR is finished" in trained(called, tmp_path, *at(corpus_file, "resume=auto"))


@pytest.mark.parametrize(("resume", "is_finished"), [("auto", True), ("auto", False), ("DIR", True)])
def test_a_run_of_other_settings_is_not_taken_for_the_one_asked_for(
    called: Script, corpus_file: Path, finished: Path, run: Path, resume: str, is_finished: bool
) -> None:
    shutil.copytree(finished if is_finished else run, run.parent / "DIR")
    before = tree(run.parent)
    options = at(corpus_file) if resume == "auto" else []
    done = called("train.py", *options, f"resume={resume}", "training.learning_rate=0.5", cwd=run.parent)
    refused(done, "with training.learning_rate=0.001, not with training.learning_rate=0.5")
    assert tree(run.parent) == before


class Dying(Watcher):
    """Ends a training without any of what it does when it stops, as a kill does."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def stepped(self, state: TrainingState) -> None:
        if state.progress.iteration == self._iteration:
            raise InterruptedError


def test_an_extension_that_dies_leaves_no_average_to_be_taken_for_its_own(
    corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [*at(corpus_file), "training.average_last=0.5"]
    train.main(*of_python(options))
    run, average = RunFolder(Path("DIR")), tree(tmp_path)["DIR/averaged.safetensors"]
    record = Fork.of(run.path).parent
    assert (record.weights, record.iterations) == ("averaged", 60)
    with pytest.raises(InterruptedError):
        train.main(*of_python(["resume=DIR", "training.max_iters=1000"]), [Dying(85)])
    record = Fork.of(run.path).parent
    assert (record.weights, record.iterations) == ("best", iteration_of(run, "best"))
    assert gpt.load("DIR").which == "best"
    assert tree(tmp_path)["DIR/averaged.safetensors"] == average  # still there for who asks for it
    assert iteration_of(run, "averaged") == 60


def test_a_run_that_dies_after_it_went_back_knows_nothing_of_what_followed(
    corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train.main(*of_python([*at(corpus_file), "checkpoint.keep=9", "training.learning_rate=0.1"]))
    back = ["resume=DIR/checkpoints/00000030", "training.max_iters=1000", "checkpoint.interval=1000"]
    with pytest.raises(InterruptedError):
        train.main(*of_python(back), [Dying(35)])
    run = RunFolder(Path("DIR"))
    assert [evaluation.iteration for evaluation in run.evaluations()] == [0, 20]
    assert iteration_of(run, "best") == Fork.of(run.path).parent.iterations == 20


def test_a_run_in_a_folder_called_checkpoints_is_a_run(called: Script, run: Path) -> None:
    place = run.parent / "checkpoints" / "run"
    place.parent.mkdir()
    run.rename(place)
    checkpoint = "resume=checkpoints/run/checkpoints/00000050"
    for resumed in (["resume=checkpoints/run"], [checkpoint, "training.max_iters=70"]):
        assert "resuming checkpoints/run from iteration 50" in trained(called, run.parent, *resumed)


def test_the_run_that_was_started_last_is_found_whatever_its_folder_is_called(run: Path, tmp_path: Path) -> None:
    earlier = RunFolder(shutil.copytree(run, tmp_path / "runs" / "sweep" / "0"))
    later = RunFolder(shutil.copytree(run, tmp_path / "runs" / "2026-01-31" / "0"))
    tomorrow = datetime.now().astimezone().replace(microsecond=0) + timedelta(days=1)
    (line,) = later.commands()
    commands = to_json(line.model_copy(update={"started": tomorrow}).model_dump(mode="json"))
    (later.path / "commands.jsonl").write_text(commands)
    found = started_runs(tmp_path / "runs")[0]
    assert found.path == later.path
    assert has_same_config(found, earlier.config())
    (earlier.path / "commands.jsonl").write_text("damaged")  # which says nothing about the run
    assert [run.path for run in started_runs(tmp_path / "runs" / "sweep")] == [earlier.path]


def test_one_process_at_a_time(called: Script, run: Path) -> None:
    with RunFolder(run).locked():
        refused(called("train.py", f"resume={run}", cwd=run.parent), f"another process is writing {run}")


def test_a_sweep_goes_on_from_its_folder(called: Script, script: Script, corpus_file: Path, tmp_path: Path) -> None:
    short = ["training.max_iters=2", "training.eval_iters=1", "data=text", f"data.path='{corpus_file}'"]
    trained(script, tmp_path, "-m", "v1", *short, "seed=1,2", "tags=[a]", "hydra.sweep.dir=a sweep")
    sweep = tmp_path / "a sweep"
    kept, lost = (sweep / f"00{number}_v1_seed{number + 1}" for number in (0, 1))
    before = (kept / "summary.json").read_bytes()
    expected = (lost / "metrics.jsonl").read_bytes()
    shutil.rmtree(lost)
    trained(script, tmp_path, "resume=a sweep")
    assert ((kept / "summary.json").read_bytes(), (lost / "metrics.jsonl").read_bytes()) == (before, expected)
    record = sweep / "multirun.yaml"
    record.write_text(record.read_text().replace("- tags=[a]", "- +hydra.callbacks.x._target_=os.getcwd"))
    trained(script, tmp_path, "resume=a sweep")  # a stranger's settings of Hydra are not taken
    record.write_text("hydra: 5")
    done = called("train.py", "resume=a sweep", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "multirun.yaml is damaged" in done.stderr


def test_a_signal_stops_all_of_a_sweep(corpus_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *SHORT, "training.max_iters=100000", "seed=1,2",
               "data=text", f"data.path='{corpus_file}'", "hydra.sweep.dir=sweep"]  # fmt: skip
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
    assert err.endswith("; resume the sweep with: python train.py resume=sweep\n")
    assert [path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()] == ["000_v1_seed1"]


def test_a_finished_run_stays_byte_for_byte_unless_it_is_extended(
    called: Script, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "R")
    before = tree(tmp_path)
    for request, code in (
        (["resume=R", "training.max_iters=90", "training.grad_accumulation=5"], 2),
        (["resume=R/checkpoints/00000050", "device=cpu"], 0), (["resume=R"], 0),
    ):  # fmt: skip
        done = called("train.py", *request, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert tree(tmp_path) == before


def test_settings_of_the_past_keep_a_run_from_passing_for_the_documented_one(called: Script, run: Path) -> None:
    """Most of it trained at another rate, and finished at the documented one."""
    trained(called, run.parent, f"resume={run}", "training.learning_rate=0.01")
    trained(called, run.parent, f"resume={run}", "training.learning_rate=0.001", "training.max_iters=80")
    changed = RunFolder(run).summary().changes
    assert "training.learning_rate=0.01 until iteration 60" in changed
    assert not any(change.startswith("training.max_iters") and "until" in change for change in changed)


DECIDED = "with training.patience=9, the evaluations so far count in when the run ends"


@pytest.mark.parametrize(
    ("setting", "change", "message", "allowed"),
    [
        ("schedule=cosine", [], "would have had different learning rates for training.max_iters=100 than for 60",
         "schedule=constant"),
        ("training.average_last=0.5", [], "the average from iteration 50 on cannot be continued",
         "training.average_last=0"),
        ("training.patience=9", ["training.eval_interval=20"], DECIDED, "training.patience=null"),
        ("training.patience=9", ["training.eval_iters=3"], DECIDED, "training.patience=null"),
    ],
)  # fmt: skip
def test_an_extension_that_would_not_equal_one_long_run_is_refused(
    called: Script, trained_run: TrainedOnce, tmp_path: Path, setting: str, change: list[str], message: str,
    allowed: str,
) -> None:  # fmt: skip
    run = RunFolder(shutil.copytree(trained_run("v1", LONGER[0], setting), tmp_path / "R"))
    before, extend = tree(tmp_path), ["resume=R", "training.max_iters=100", *change]
    refused(called("train.py", *extend, cwd=tmp_path), message)
    assert tree(tmp_path) == before
    trained(called, tmp_path, *extend, allowed)
    assert run.summary().exact.weights == "last"
    assert not run.weights("averaged").exists()


@pytest.mark.parametrize("patience", [1, 2])
def test_a_run_that_goes_on_between_two_evaluations_ends_early_at_an_evaluation_only(
    called: Script, trained_run: TrainedOnce, tmp_path: Path, patience: int
) -> None:
    run = RunFolder(shutil.copytree(trained_run("v1", *LONGER, "training.learning_rate=100"), tmp_path / "R"))
    (run.path / "summary.json").unlink()
    shutil.rmtree(run.path / "checkpoints" / "00000060")
    losses = [evaluation.val.nats for evaluation in run.evaluations()[:3]]
    assert min(losses) == losses[0]  # no patience is left at iteration 40; the checkpoint is of iteration 50
    longer = ["training.max_iters=100", f"training.patience={patience}"]
    assert "ended early, after 60 of 100 iterations" in trained(called, tmp_path, "resume=R", *longer)
    assert run.summary().iterations == run.evaluations()[-1].iteration == 60
    assert "is finished" in trained(called, tmp_path, "resume=R")


def test_a_job_of_a_sweep_is_known_by_its_configuration_and_not_by_its_number(
    called: Script, corpus_file: Path, tmp_path: Path
) -> None:
    sweep = ["-m", *SHORT, "training.max_iters=4", "data=text", f"data.path='{corpus_file}'", "resume=auto",
             "hydra.sweep.dir=S"]  # fmt: skip
    trained(called, tmp_path, *sweep, "training.learning_rate=1e-3,3e-3")
    assert trained(called, tmp_path, *sweep, "training.learning_rate=1e-4,1e-3,3e-3").count(" is finished; ") == 2
    rates = [RunFolder(path.parent).config().training.learning_rate for path in tmp_path.rglob("summary.json")]
    assert sorted(rates) == [1e-4, 1e-3, 3e-3]
    for finished in (1, 2):  # also by what a search ignores, if the jobs differ in it
        assert trained(called, tmp_path, *sweep, "checkpoint.keep=2,3").count(" is finished; ") == finished


def test_a_picture_that_cannot_be_drawn_costs_a_warning_and_not_the_run(
    script: Script, corpus_file: Path, tmp_path: Path
) -> None:
    done = succeeded(script("train.py", *at(corpus_file), cwd=tmp_path, MPLBACKEND="bogus"))
    assert "warning: the loss curve could not be written" in done.stderr
    assert RunFolder(tmp_path / "DIR").summary().iterations == 60


def test_no_worker_of_a_parallel_sweep_outlives_it(corpus_file: Path, tmp_path: Path) -> None:
    sweep = [sys.executable, str(REPOSITORY / "train.py"), "-m", *SHORT, "seed=1,2,3", "hydra/launcher=joblib",
             "hydra.launcher.n_jobs=2", "data=text", f"data.path='{corpus_file}'", "hydra.sweep.dir=S"]  # fmt: skip
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
    """Make the configuration name another corpus, with a valid checksum, as a stranger could."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["path"] = str(path)
    (run / "config.yaml").write_text(sealed(yaml.safe_dump(config | {"checksum": PLACE}, sort_keys=False)))


@pytest.fixture
def moved(finished: Path, corpus_file: Path, tmp_path: Path) -> Path:
    """A project's folder with a corpus and a finished run in runs/R that names it by a relative path."""
    (tmp_path / "project").mkdir()
    shutil.copy(corpus_file, tmp_path / "project" / "corpus.txt")
    with_corpus(Path(shutil.copytree(finished, tmp_path / "project" / "runs" / "R")), Path("corpus.txt"))
    return tmp_path / "project"


RESUMED, EVALUATED = ["train.py", "resume=runs/R", "training.max_iters=80"], ["evaluate.py", "run=runs/R"]


@pytest.mark.parametrize("command", [RESUMED, EVALUATED], ids=["train", "evaluate"])
def test_a_corpus_is_known_by_its_content_and_elsewhere_it_has_to_be_named(
    called: Script, moved: Path, command: list[str]
) -> None:
    copy = Path(shutil.copytree(moved, moved.parent / "copy"))
    before = tree(moved / "runs")
    (moved / "corpus.txt").rename(moved / "elsewhere.txt")  # so that the copy does not find it
    os.utime(copy / "corpus.txt", (0, 0))
    succeeded(called(*command, cwd=copy))
    (moved / "other.txt").write_text("another text " * 200)
    group = ["data=text"] if command == RESUMED else []
    for named, problem in (
        ([], "there is no file corpus.txt"),
        ([*group, "data.path=other.txt"], "not the one that runs/R"),
    ):
        done = called(*command, *named, cwd=moved)
        refused(done, problem)
        assert done.stderr.endswith("; if it is elsewhere, add data.path=PATH (for train.py, with data=text)\n")
        assert tree(moved / "runs") == before
    succeeded(called(*command, *group, "data.path=elsewhere.txt", cwd=moved))
    if command == RESUMED:  # from now on the run knows the place
        assert called(*EVALUATED, cwd=moved).returncode == 0


def test_naming_the_corpus_of_a_run_of_subwords_keeps_its_subwords(
    called: Script, corpus_file: Path, tmp_path: Path
) -> None:
    subwords = at(corpus_file, "data.tokenizer=subwords", "data.vocab_size=300")
    trained(called, tmp_path, *subwords)
    shutil.copy(corpus_file, tmp_path / "copy.txt")
    trained(called, tmp_path, "resume=DIR", "data=text", "data.path=copy.txt", "training.max_iters=80")
    trained(called, tmp_path, *subwords, "training.max_iters=80", "hydra.run.dir=whole")
    summaries = [RunFolder(tmp_path / name).summary() for name in ("DIR", "whole")]
    assert summaries[0].exact == summaries[1].exact


def test_nothing_is_downloaded_to_a_folder_that_only_the_run_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's run could name any folder; the user's own is used instead."""
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path / "own"))
    places = []
    monkeypatch.setattr(download, "_receive", lambda url, path, start: places.append(path))
    run = empty_run(tmp_path / "run")
    theirs = Choice(_target_="gpt.data.corpora.enwik8", dir=str(tmp_path), tokenizer="bytes", vocab_size=1000)
    with pytest.raises(UserError, match="cannot download"):
        same_corpus(run, STAGE.find(Choice(_target_="gpt.models.v1_bigram.Bigram")), theirs)
    assert places == [tmp_path / "own" / ".enwik8.zip.part"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["model=v7", "model.n_head=5"], "n_head"),
        (["schedule=cosine", "schedule.warmup_iters=9999"], "warmup"),
        (["optimizer=sgd", "optimizer.momentum=2"], "optimizer.momentum=2"),
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


def test_v9_with_all_it_remembers_resumes_to_the_bit_and_says_whether_it_reached_its_target(
    script: Script, corpus_file: Path, tmp_path: Path
) -> None:
    options = ["model=v9", "model.block_size=16", "model.n_embd=16", "model.n_head=2", "model.n_layer=1",
               "model.ngrams=3", "model.memory=5000", "training.multi_token=0.3",
               "training.windows=shuffled", "training.short_window=4", "training.short_iters=8",
               "training.average_last=0.5", "training.eval_interval=5", "training.eval_iters=2",
               "training.recompute=true", "training.sample_interval=1",
               "checkpoint.interval=5", "checkpoint.min_seconds=0", "checkpoint.keep=9",
               "data=text", f"data.path={corpus_file}", "device=cpu", "training.max_iters=20"]  # fmt: skip
    whole = trained(script, tmp_path, *options, "hydra.run.dir=whole", "target=0.5")
    assert "  | " in (tmp_path / "whole" / "train.log").read_text()  # the samples
    assert re.search(r"target 0\.5000 nats per character missed after \d+\.\d s of training steps and their", whole)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "summary.json").unlink()
    for name in ("00000010", "00000015", "00000020"):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / name)
    cut = trained(script, tmp_path, "resume=cut", "target=4.5")
    assert "resuming cut from iteration 5" in cut
    assert "target 4.5000 nats per character reached after" in cut
    for name in ("last.safetensors", "averaged.safetensors", "metrics.jsonl", "sample.txt"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    summary = RunFolder(tmp_path / "cut").summary()
    assert (summary.target, 0 < (summary.counted_seconds or 0) < 60) == (4.5, True)
