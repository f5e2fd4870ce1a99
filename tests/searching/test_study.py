"""A search as a user runs it: its trials, its workers, its deaths, and what it says at the end."""

import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import optuna
import pytest

from tests.extras import require_extra

require_extra("search")

from optuna.trial import TrialState

from gpt.runs.folder import RunFolder
from tests.conftest import REPOSITORY, Script, refused, shell_commands, succeeded
from tests.faults.trials import tree
from tests.forked import Forked

RATE = "training.learning_rate=tag(log,interval(1e-4,1e-1))"
SHORT = ["model=v1", "training.max_iters=12", "training.eval_interval=4", "training.eval_iters=1", "device=cpu"]

Searched = Callable[..., CompletedProcess]


def trials_in(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder}/study.db"
    return optuna.load_study(study_name="search", storage=storage).get_trials()


@pytest.fixture(scope="session")
def corpus(corpus_file: Path) -> list[str]:
    return ["data=text", f"data.path={corpus_file}"]


@pytest.fixture
def searched(called: Script, corpus: list[str], tmp_path: Path) -> Searched:
    """Run search.py on the small corpus, with short trials: searched(RATE, "n_trials=2", code=0)."""

    def search(*arguments: str, code: int = 0) -> CompletedProcess:
        done = called("search.py", *SHORT, *corpus, *arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done

    return search


def test_every_trial_is_a_run_and_the_winner_repeatable(searched: Searched, called: Script, tmp_path: Path) -> None:
    place = "a study, (1)?"  # a name that no address can have
    ranges = [RATE, "training.batch_size=range(8,25,8)", "optimizer=adamw,sgd"]
    done = searched(*ranges, "n_trials=9", f"study={place}")
    (tmp_path / place).rename(tmp_path / "S")
    trials = trials_in(tmp_path / "S")
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        run = RunFolder(tmp_path / "S" / f"trial_{trial.number:03d}")
        assert run.is_finished() == (trial.state is TrialState.COMPLETE)
        assert (
            f"{trial.number + 1}/9  training.learning_rate={trial.params['training.learning_rate']:.4g}" in done.stdout
        )
    best = min((trial for trial in trials if trial.state is TrialState.COMPLETE), key=lambda trial: trial.value)
    assert (
        f"best: trial_{best.number:03d}, exact validation loss in nats per character: {best.value:.4f}" in done.stdout
    )
    assert (tmp_path / "S" / "search.png").read_bytes().startswith(b"\x89PNG")
    *_, command = done.stdout.splitlines()
    _, *arguments = shlex.split(command)
    again = succeeded(called(*arguments, cwd=tmp_path))
    assert re.search(rf"^exact .* {best.value:.4f} ", again.stdout, re.MULTILINE)


def test_a_metric_is_searched_for_in_its_better_direction(searched: Searched, tmp_path: Path) -> None:
    arguments = ["metrics=accuracy", RATE, "n_trials=3", "study=S", "prune=false"]
    done = searched(*arguments, "metric=accuracy")
    values = [trial.value for trial in trials_in(tmp_path / "S")]
    assert len({*values}) > 1
    assert f"best: trial_{values.index(max(values)):03d}, accuracy: {max(values):.4f}\n" in done.stdout
    assert "entropy" in searched(*arguments, "metric=entropy", code=2).stderr


def test_n_trials_is_a_total_and_minutes_a_limit(searched: Searched, tmp_path: Path) -> None:
    for limits, said in ((["n_trials=5", "minutes=0"], "trials: 1 complete"), (["n_trials=2"], "trials: 2 complete")):
        assert f"{said}, in runs/search_v1" in searched(RATE, *limits).stdout
    assert len(trials_in(tmp_path / "runs" / "search_v1")) == 2


def test_several_workers_share_one_study(corpus: list[str], tmp_path: Path) -> None:
    command = [str(REPOSITORY / "search.py"), *SHORT, *corpus, RATE, "n_trials=6", "prune=false"]
    for worker in [Forked(command, tmp_path) for _ in range(3)]:
        succeeded(worker.finished())
    trials = trials_in(tmp_path / "runs" / "search_v1")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.params["training.learning_rate"] for trial in trials}) == 6


def test_a_killed_search_finds_what_an_unbroken_one_finds(called: Script, corpus: list[str], tmp_path: Path) -> None:
    saving = [
        "training.max_iters=2000",
        "training.eval_interval=500",
        "checkpoint.interval=50",
        "checkpoint.min_seconds=0",
    ]
    options = ["search.py", *SHORT, *corpus, RATE, *saving, "n_trials=3"]
    succeeded(called(*options, "study=whole", cwd=tmp_path))
    for number in (0, 2):
        search = Forked([str(REPOSITORY / options[0]), *options[1:], "study=parts"], tmp_path)
        while not list(tmp_path.glob(f"parts/trial_00{number}/checkpoints/0*")):
            time.sleep(0.01)
        search.send_signal(signal.SIGKILL)
        search.finished()
    succeeded(called(*options, "study=parts", cwd=tmp_path))
    whole, parts = ([(t.params, t.value) for t in trials_in(tmp_path / name)] for name in ("whole", "parts"))
    assert parts == whole
    assert ["resuming" in path.read_text() for path in sorted(tmp_path.glob("parts/*/*.log"))] == [True, False, True]


def test_a_stopped_search_says_how_it_goes_on(corpus: list[str], tmp_path: Path) -> None:
    command = [str(REPOSITORY / "search.py"), *SHORT, *corpus, RATE, "training.max_iters=1000000", "n_trials=1"]
    search = Forked(command, tmp_path)
    while not list(tmp_path.rglob("metrics.jsonl")):
        time.sleep(0.1)
    search.send_signal(signal.SIGTERM)
    done = search.finished()
    assert done.returncode == 143
    assert re.fullmatch(r".*trial 0.*repeat.*\n", done.stderr)
    assert [trial.state for trial in trials_in(tmp_path / "runs" / "search_v1")] == [TrialState.RUNNING]


def test_a_trial_that_cannot_be_trained_is_no_end(searched: Searched, tmp_path: Path) -> None:
    ranges = ["model=v3", "optimizer=sgd", "model.n_head=4,5", "training.learning_rate=1e30,1e-3", "study=S"]
    done = searched(*ranges, "n_trials=12", "sampling_seed=2")
    assert "n_embd=32" in done.stderr
    found = {(t.params["model.n_head"], t.params["training.learning_rate"]): t.state for t in trials_in(tmp_path / "S")}
    assert {found["5", "1e+30"], found["5", "0.001"]} == {TrialState.FAIL}
    assert (found["4", "1e+30"], found["4", "0.001"]) == (TrialState.PRUNED, TrialState.COMPLETE)


def test_a_missing_file_stops_a_search_that_can_go_on(searched: Searched, tmp_path: Path) -> None:
    searched(RATE, "data.path=late.txt", "n_trials=1", code=2)
    (tmp_path / "late.txt").write_text("To be, or not to be, that is the question.\n" * 40)
    assert "trials: 1 complete" in searched(RATE, "data.path=late.txt", "n_trials=1").stdout


def test_a_value_beside_the_ranges_of_an_experiment_counts(searched: Searched, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "rates.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 5\n      optimizer: adamw,sgd\n"
    )
    done = searched("--config-dir=mine", "experiment=rates", "n_trials=1")
    assert RunFolder(next(tmp_path.glob("runs/*/trial_000"))).config().seed == 5
    again = done.stdout.splitlines()[-1].split()
    assert {f"--config-dir={tmp_path / 'mine'}", "seed=5"} <= {*again}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "training.batch_size="),
        (["seed=1,2,3"], "seed"),
        (["n_trails=3", RATE], "n_trials"),
        (["resume=auto", RATE], "study=FOLDER"),
        (["training.learning_rate=interval(2,1)"], "training.learning_rate"),
        (["training.learning_rate=range(1,5,0)"], "step"),
        (["training.batch_size=range(5,5)"], "training.batch_size"),
        ([RATE, "study=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_what_a_user_gets_wrong_ends_in_one_line(
    arguments: list[str], word: str, called: Script, tmp_path: Path
) -> None:
    done = called("search.py", "model=v1", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert word in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_torchrun_or_a_missing_optuna_is_one_line(
    called: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(called("search.py", "experiment=search_v6", cwd=tmp_path, WORLD_SIZE="2"), "torchrun")
    monkeypatch.setitem(sys.modules, "optuna.distributions", None)
    for module in [name for name in sys.modules if name in ("gpt.config.ranges", "gpt.searching.study")]:
        monkeypatch.delitem(sys.modules, module)
    refused(called("search.py", "experiment=search_v6", cwd=tmp_path), "[search]")


def test_another_or_a_damaged_study_is_refused(searched: Searched, tmp_path: Path) -> None:
    searched(RATE, "n_trials=1", "study=S")
    before = tree(tmp_path)
    refused(searched(RATE, "seed=2", "n_trials=2", "study=S", code=2), "seed=2")
    assert tree(tmp_path) == before
    (tmp_path / "S" / "study.db").write_bytes(b"not a database" * 100)
    damaged = searched(RATE, "study=S", code=1).stderr
    assert re.fullmatch(r"error: .*S/study\.db.*\n", damaged)


def test_the_page_about_searching_runs_as_written(script: Script, corpus: list[str], tmp_path: Path) -> None:
    """Apart from the length of its runs and the number of its trials."""
    short = [*SHORT[1:], "schedule.warmup_iters=0", *corpus]
    for trials, (python, name, *arguments) in enumerate(map(shlex.split, shell_commands("searching.md")), start=2):
        assert python == "python"
        more = [*short, f"n_trials={trials}"] if name == "search.py" else []
        succeeded(script(name, *arguments, *more, cwd=tmp_path))
    assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"search_v6", "mine"}
