"""A search as a user runs it: its trials, its workers, its deaths, and what it says at the end."""

import contextlib
import json
import math
import random
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from gpt.base.errors import DivergedError, RequestError, UserError
from gpt.base.schema import TrainConfig
from gpt.cli.ranges import Range
from gpt.data.sources import read_text
from gpt.searching import report
from gpt.searching.space import contains, spread
from gpt.searching.study import Goal, Search
from gpt.session import train
from gpt.training.progress import Progress
from gpt.training.watchers import Watcher
from tests.conftest import REPOSITORY, Script, succeeded
from tests.faults.trials import tree
from tests.forked import Forked
from tests.losses import evaluation

RATE = "training.learning_rate=tag(log,interval(1e-4,1e-1))"
SHORT = ["model=v1", "training.max_iters=12", "training.eval_interval=4", "training.eval_iters=1", "device=cpu"]

RATES = {"training.learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
LAYERS = {"n_layer": IntDistribution(1, 4)}

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

    def search(*arguments: str, code: int | None = 0) -> CompletedProcess:
        done = called("search.py", *SHORT, *corpus, *arguments, cwd=tmp_path)
        assert code in (None, done.returncode), done.stderr
        return done

    return search


def test_a_search_is_a_run_and_a_line_for_each_trial_and_a_command_for_the_winner(
    searched: Searched, called: Script, tmp_path: Path
) -> None:
    place = "a study, (1)?"  # a name that no address can have
    out = searched(RATE, "training.batch_size=range(8,25,8)", "optimizer=adamw,sgd", "n_trials=9", f"study={place}")
    study, out = tmp_path / place, out.stdout
    with contextlib.closing(sqlite3.connect(study / "study.db")) as connection:
        states = [state for (state,) in connection.execute("select state from trials order by number")]
    assert len(states) == 9
    assert states.count("COMPLETE") >= 5  # pruning needs some to compare with
    assert {*states} == {"COMPLETE", "PRUNED"}
    for number, state in enumerate(states):
        run = study / f"trial_{number:03d}"
        assert (run / "summary.json").exists() == (state == "COMPLETE")
        assert len((run / "commands.jsonl").read_text().splitlines()) == 1
    lines = [line for line in out.splitlines() if re.match(r"\d+/\d+  ", line)]
    assert [line.partition("/")[0] for line in lines] == [str(n + 1) for n in range(9)]
    assert "iteration" not in out.replace("iterations", "")
    assert re.fullmatch(r"1/9  learning_rate=\S+ batch_size=\S+ optimizer=\S+  \d\.\d{4}  best so far", lines[0])
    assert (study / "search.png").read_bytes().startswith(b"\x89PNG")
    (line,) = re.findall(r"^importances: (.*)$", out, re.MULTILINE)
    shares = dict(part.rsplit(" ", 1) for part in line.split(", "))
    assert set(shares) == {"training.learning_rate", "training.batch_size", "optimizer"}
    assert sum(map(float, shares.values())) == pytest.approx(1, abs=0.02)

    *_, best, use, announced, command = out.splitlines()
    assert announced == "train the winner in full, for 16,000 iterations:"
    assert use.startswith("use it: python generate.py run=")
    found = re.fullmatch(r"best: trial_(\d+), exact validation loss (\d\.\d{4}) \(nats per character\)", best)
    assert found is not None
    python, *arguments = shlex.split(command)
    assert python == "python"
    assert {"model=v1", "training.max_iters=16000"} <= set(arguments)
    done = succeeded(called(*arguments, "training.max_iters=12", cwd=tmp_path))
    assert re.search(rf"^exact .* {found[2]} ", done.stdout, re.MULTILINE)


def test_a_metric_that_says_which_is_better_is_searched_for(searched: Searched, tmp_path: Path) -> None:
    arguments = ["metrics=accuracy", RATE, "n_trials=3", "study=study", "prune=false"]
    done = searched(*arguments, "metric=accuracy")
    values = [trial.value for trial in trials_in(tmp_path / "study")]
    assert len({*values}) > 1
    assert f"best: trial_{values.index(max(values)):03d}, accuracy {max(values):.4f}\n" in done.stdout
    refused = searched(*arguments, "metric=exact", code=1)
    assert "is not the study of a search for the lowest exact validation loss" in refused.stderr
    assert "this configuration has no metric entropy" in searched(*arguments, "metric=entropy", code=2).stderr


def test_a_trial_of_several_seeds_has_their_mean_so_that_a_lucky_one_does_not_win(
    searched: Searched, called: Script, tmp_path: Path
) -> None:
    done = searched(RATE, "seed=choice(3,1,2)", "n_trials=2", "study=S")
    trials = trials_in(tmp_path / "S")
    assert [{*trial.params} for trial in trials] == [{"training.learning_rate"}] * 2
    paths = [[tmp_path / "S" / f"trial_00{i}" / f"seed_{seed}" / "summary.json" for seed in (1, 2, 3)] for i in (0, 1)]
    summaries = [[json.loads(path.read_text()) for path in of_trial] for of_trial in paths]
    assert [[summary["seed"] for summary in of_trial] for of_trial in summaries] == [[1, 2, 3]] * 2
    losses = [[summary["exact"]["nats"] for summary in of_trial] for of_trial in summaries]
    assert all(len({*of_trial}) == 3 for of_trial in losses)
    assert [trial.value for trial in trials] == pytest.approx([sum(of_trial) / 3 for of_trial in losses])
    *_, best, use, announced, command = done.stdout.splitlines()
    number = min((0, 1), key=lambda i: sum(losses[i]))
    said = (
        f"best: trial_00{number}, exact validation loss {sum(losses[number]) / 3:.4f}, mean of 3 seeds (nats per char"
    )
    assert best.startswith(said)
    luckiest = losses[number].index(min(losses[number])) + 1
    assert use == f"use it: python generate.py run=S/trial_00{number}/seed_{luckiest}"
    assert announced == "train the winner in full, for 16,000 iterations, with each seed:"
    _, *arguments = shlex.split(command)
    succeeded(called(*arguments, "training.max_iters=12", "hydra.sweep.dir=swept", cwd=tmp_path))
    again = [json.loads(path.read_text())["exact"]["nats"] for path in sorted(tmp_path.glob("swept/*/summary.json"))]
    assert again == losses[number]
    assert "has seed=[1, 2]" in searched(RATE, "seed=1,2", "n_trials=2", "study=S", code=2).stderr
    assert "2 trials: 2 complete" in searched(RATE, "seed=range(1,4)", "n_trials=2", "study=S").stdout  # the same


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_the_picture_of_one_hyperparameter_shows_the_loss_against_its_values(
    scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, key, values = optuna.create_study(), "training.learning_rate", (1e-3, 1e-1)
    where = FloatDistribution(*values, log=True) if scale == "log" else CategoricalDistribution(values)
    for value, loss in zip(values, (2.5, 2.1), strict=True):
        found.add_trial(create_trial(params={key: value}, distributions={key: where}, value=loss))
    drawn: list[Figure] = []
    monkeypatch.setattr(report, "write_picture", lambda path, figure, writer: drawn.append(figure))
    report.draw(found, tmp_path / "search.png")
    _, right = drawn[0].axes
    assert (right.get_xlabel(), right.get_xscale()) == ("learning_rate", scale)
    points, *_ = right.lines
    assert list(points.get_xdata()) == list(values)
    assert list(points.get_ydata()) == [2.5, 2.1]


@pytest.mark.parametrize(
    ("best", "is_log", "beyond"),
    [(0.05, False, "smaller"), (0.98, False, "larger"), (0.5, False, None), (0.011, True, "smaller"),
     (0.05, True, None)],
)  # fmt: skip
def test_a_drawn_number_near_the_end_of_its_interval_is_at_the_edge(
    best: float, is_log: bool, beyond: str | None
) -> None:
    said = report.edges({"rate": best}, {"rate": Range(low=0.01, high=1.0, is_log=is_log), "other": Range([1, 2])})
    line = f"The best rate, {best:g}, is at the edge of what was tried: {beyond} values may be better."
    assert said == ([line] if beyond else [])


def test_a_range_of_one_number_has_no_edge() -> None:
    for only in (Range(low=3, high=3, step=1), Range(low=0.5, high=0.5), Range(low=0.5, high=0.5, is_log=True)):
        assert report.edges({"key": only.low}, {"key": only}) == []


@pytest.mark.parametrize(
    "lengths", ["training.epochs=0.05,0.1", "training.epochs=0.05 optimizer=adamw,sgd", "training.max_iters=3,4"]
)
def test_the_winner_of_a_search_with_a_length_of_its_own_is_trained_for_that(
    lengths: str, called: Script, corpus: list[str], tmp_path: Path
) -> None:
    short = [word for word in SHORT if "max_iters" not in word]
    done = succeeded(called("search.py", *short, *corpus, *lengths.split(), "n_trials=2", cwd=tmp_path))
    announced, command = done.stdout.splitlines()[-2:]
    assert announced == "train the winner:"
    assert len(re.findall(r"training\.(max_iters|epochs)=", command)) == 1


def test_the_first_trials_cover_the_space_evenly() -> None:
    """Of ten trials, each fifth of each interval has some, whatever the seed; random ones often leave one out."""
    space = {
        "rate": FloatDistribution(1e-4, 1e-1, log=True), "dropout": FloatDistribution(0.0, 0.5),
        "size": IntDistribution(16, 64, step=16), "optimizer": CategoricalDistribution(("adamw", "muon")),
    }  # fmt: skip
    for seed in range(5):
        offsets = torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist()
        drawn = [spread(space, number, offsets) for number in range(10)]
        assert all(contains(space[key], value) for point in drawn for key, value in point.items())
        assert {int(5 * math.log(point["rate"] / 1e-4) / math.log(1e3)) for point in drawn} == {0, 1, 2, 3, 4}
        assert {int(10 * point["dropout"]) for point in drawn} == {0, 1, 2, 3, 4}
        assert {point["size"] for point in drawn} == {16, 32, 48, 64}
        assert {point["optimizer"] for point in drawn} == {"adamw", "muon"}


def test_n_trials_is_the_total_unless_the_minutes_are_over_before(searched: Searched, tmp_path: Path) -> None:
    for limits, said in (
        (["n_trials=5", "minutes=0"], "1 trial: 1 complete"),
        (["n_trials=2"], "2 trials: 2 complete"),
    ):
        done = searched(RATE, *limits)
        assert f"{said}, in runs/search_v1" in done.stdout
        assert "importances" not in done.stdout  # of a single key
    assert len(trials_in(tmp_path / "runs" / "search_v1")) == 2


@pytest.mark.parametrize(("prune", "state"), [(True, TrialState.PRUNED), (False, TrialState.COMPLETE)])
def test_a_trial_above_the_median_of_the_others_is_pruned_unless_pruning_is_off(
    prune: bool, state: TrialState, tmp_path: Path
) -> None:
    search = Search(tmp_path / "study", RATES, {}, seed=1, prune=prune)

    def train(watcher: Watcher, loss: float) -> float:
        evaluations = [evaluation(i, loss, loss, i) for i in (0, 4)]
        watcher.between_steps(SimpleNamespace(progress=Progress(iteration=4, evaluations=evaluations)), is_last=False)
        return loss

    for loss, trial in zip((1.0, 1.0, 1.0, 1.0, 1.0, 2.0), search.trials(6), strict=True):
        search.run(trial, partial(train, loss=loss))
    trials = search.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5 + [state]
    assert all(list(trial.intermediate_values) == [4] for trial in trials)  # and not iteration 0, where all are alike


@pytest.mark.slow
def test_several_workers_share_one_study(corpus: list[str], tmp_path: Path) -> None:
    command = [str(REPOSITORY / "search.py"), *SHORT, *corpus, RATE, "n_trials=6", "prune=false"]
    for worker in [Forked(command, tmp_path) for _ in range(3)]:
        succeeded(worker.finished())
    study = tmp_path / "runs" / "search_v1"
    trials = trials_in(study)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.params["training.learning_rate"] for trial in trials}) == 6
    for path in study.glob("trial_*/commands.jsonl"):
        assert len(path.read_text().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [[], ["seed=1,2,3"]])
def test_a_search_that_is_killed_finds_what_an_unbroken_one_finds(
    seeds: list[str], called: Script, corpus: list[str], tmp_path: Path
) -> None:
    """However often, at any moment of its work; only the time that it takes is another."""
    kills, draw = 6, random.Random(0)
    options = ["search.py", *SHORT, *corpus, RATE, "optimizer=adamw,sgd", f"n_trials={4 + kills}", *seeds]
    options += ["checkpoint.interval=4", "checkpoint.min_seconds=0"]
    assert called(*options, "study=whole", cwd=tmp_path).returncode == 0
    command = [sys.executable, str(REPOSITORY / options[0]), *options[1:], "study=parts"]
    for _ in range(kills):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if any(re.match(r"\d+/\d+  ", line) for line in process.stdout or ()):  # a trial has ended: the next begins
            time.sleep(draw.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    succeeded(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True))
    whole, parts = (
        [(t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in trials_in(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert parts == whole
    assert len(list((tmp_path / "parts").glob("trial_*"))) == 4 + kills


def test_a_stopped_search_says_how_it_goes_on(corpus: list[str], tmp_path: Path) -> None:
    command = [str(REPOSITORY / "search.py"), *SHORT, *corpus, RATE, "training.max_iters=1000000", "n_trials=1"]
    search = Forked(command, tmp_path)
    while not list(tmp_path.rglob("metrics.jsonl")):
        time.sleep(0.1)
    search.send_signal(signal.SIGTERM)
    done = search.finished()
    assert done.returncode == 143
    assert done.stderr == "stopped in trial 0; repeat the command to continue\n"
    assert [trial.state for trial in trials_in(tmp_path / "runs" / "search_v1")] == [TrialState.RUNNING]


def test_a_trial_that_diverges_or_cannot_be_is_no_end_of_the_search(searched: Searched, tmp_path: Path) -> None:
    ranges = ["model=v3", "optimizer=sgd", "model.n_head=4,5", "training.learning_rate=1e30,1e-3", "study=S"]
    while (done := searched(*ranges, code=None)).returncode:  # a worker does not go on before one trial has succeeded
        assert re.match(r"error: trial \d failed, and none has succeeded: model: n_embd=32 must be a", done.stderr)
    assert "every combination has been tried\n4 trials: 1 complete, 1 pruned, 2 fail, in S\n" in done.stdout
    states = {
        (t.params["model.n_head"], t.params["training.learning_rate"]): t.state for t in trials_in(tmp_path / "S")
    }
    assert states == {
        ("5", "1e+30"): TrialState.FAIL, ("5", "0.001"): TrialState.FAIL,
        ("4", "1e+30"): TrialState.PRUNED, ("4", "0.001"): TrialState.COMPLETE,
    }  # fmt: skip


def test_a_trial_of_several_seeds_is_pruned_by_the_first(searched: Searched, tmp_path: Path) -> None:
    out = searched("training.learning_rate=range(0.1,0.01,-0.01)", "seed=1,2", "n_trials=9", "study=S").stdout
    assert re.search(r"\d complete, \d pruned, in S", out)
    for trial in trials_in(tmp_path / "S"):
        folder = tmp_path / "S" / f"trial_{trial.number:03d}"
        expected = ["seed_1", "seed_2"] if trial.state is TrialState.COMPLETE else ["seed_1"]
        assert sorted(path.name for path in folder.glob("seed_*")) == expected
        assert list(trial.intermediate_values) == [4, 8, 12][: len(trial.intermediate_values)]


def test_a_trial_of_which_one_seed_diverges_has_no_mean(
    searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(config: TrainConfig, *arguments: Any) -> float:
        if config.seed == 2 and config.optimizer.target.endswith("SGD"):
            raise DivergedError("the loss is NaN")
        return trained(config, *arguments)

    trained = train.main
    monkeypatch.setattr(train, "main", diverging)
    searched("optimizer=sgd,adamw", "seed=1,2,3", "study=S")
    states = {trial.params["optimizer"]: (trial.state, trial.number) for trial in trials_in(tmp_path / "S")}
    assert states["adamw"][0] is TrialState.COMPLETE
    state, number = states["sgd"]
    assert state is TrialState.PRUNED
    assert not (tmp_path / "S" / f"trial_{number:03d}" / "seed_3").exists()


def test_every_combination_of_a_finite_space_is_tried(tmp_path: Path) -> None:
    space = LAYERS | {"batch_size": CategoricalDistribution(["16", "32", "64"])}
    search = Search(tmp_path / "study", space, {}, seed=1, prune=False)
    for trial in search.trials(100):
        p = trial.params
        search.run(trial, lambda _, p=p: int(p["batch_size"]) / 64 + p["n_layer"])
    tried = [str(trial.params) for trial in search.study.get_trials()]
    assert len(tried) == len({*tried}) == 12


def test_a_file_that_is_gone_is_not_the_fault_of_a_trial(tmp_path: Path) -> None:
    search = Search(tmp_path / "study", LAYERS, {}, seed=1, prune=False)
    trials = search.trials(4)
    search.run(next(trials), lambda _: 1.0)
    with pytest.raises(RequestError, match="there is no file"):
        search.run(next(trials), lambda _: len(read_text(tmp_path / "nowhere")))
    assert [trial.state for trial in search.study.get_trials()] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_a_value_beside_the_ranges_of_an_experiment_counts(searched: Searched, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "rates.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 5\n      optimizer: adamw,sgd\n"
    )
    done = searched("--config-dir=mine", "experiment=rates", "n_trials=1")
    assert next(tmp_path.glob("runs/*/trial_000/summary.json")).read_text().count('"seed": 5') == 1
    assert f" --config-dir={tmp_path / 'mine'} seed=5 " in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to search over: give a key a range, as in training.learning_rate='tag(log,"),
        (["seed=1,2,3"], "there is nothing to search over: give a key a range, as in training.learning_rate='tag(log,"),
        (["seed=1,a", RATE], "seed=a: must be a whole number"),
        (["seed=range(3,3)", RATE], "seed: the range is empty"),
        (["seed=interval(1,3)", RATE], "seed: list the seeds of each trial, as in seed=1,2,3"),
        (["n_trails=3", RATE], "unknown key n_trails; did you mean n_trials?"),
        (["resume=auto", RATE], "resume= is for train.py: to continue a search, repeat its command"),
        (["training.learning_rate=interval(2,1)"], "training.learning_rate: "),
        (["training.learning_rate=interval(-1e308,1e308)"], "must have a finite width"),
        (["training.learning_rate=range(1,5,0)"], "a range has finite numbers, and a step other than 0"),
        (["experiment=copy,search_v6"], "experiment=search_v6 has values to try itself, which a trial cannot have"),
        (["experiment=translation_sweep"], "experiment=translation_sweep is a sweep: for a search, omit its"),
        ([RATE, "study=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_what_a_user_gets_wrong_ends_in_one_line(
    arguments: list[str], message: str, called: Script, tmp_path: Path
) -> None:
    done = called("search.py", "model=v1", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_torchrun_or_a_missing_optuna_is_one_line(
    called: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = called("search.py", "experiment=search_v6", cwd=tmp_path, WORLD_SIZE="2")
    assert refused.stderr.startswith("error: torchrun is for train.py: to search with several processes, start search.")
    monkeypatch.setitem(sys.modules, "optuna", None)
    for module in [name for name in sys.modules if name.startswith("gpt.searching.")]:
        monkeypatch.delitem(sys.modules, module)
    done = called("search.py", "experiment=search_v6", cwd=tmp_path)
    assert (refused.returncode, done.returncode) == (2, 2)
    assert done.stderr == "error: optuna is not installed: pip install -e '.[search]'\n"


def test_a_folder_of_another_search_or_without_its_study_or_with_a_damaged_one_is_refused(
    searched: Searched, tmp_path: Path
) -> None:
    def refused(*arguments: str, code: int = 2) -> str:
        return searched("n_trials=1", "study=S", *arguments, code=code).stderr

    searched(RATE, "n_trials=1", "study=S")
    before = tree(tmp_path)
    other = "error: S holds a search with other settings; this one has "
    assert refused(RATE, "seed=2").startswith(f"{other}seed=2: give it a new folder with stud")
    assert refused(RATE.replace("1e-4", "1e-5")).startswith(f"{other}space.training.learning")
    assert tree(tmp_path) == before
    (tmp_path / "S" / "study.db").write_bytes(b"not a database" * 100)
    assert refused(RATE, code=1) == "error: cannot use S/study.db: file is not a database\n"
    (tmp_path / "S" / "study.db").unlink()
    assert refused(RATE).startswith("error: S/trial_000 already exists and is not part of this search: move it")


def test_trials_with_other_tokens_are_compared_by_character_and_none_is_pruned(
    searched: Searched, called: Script, tmp_path: Path
) -> None:
    ranges = ["data.tokenizer=characters,bytes,subwords", "data.vocab_size=260"]
    assert "no trial is pruned: with another data.tokenizer, " in searched(*ranges, "n_trials=3", "study=S").stdout
    succeeded(called("compare.py", "runs=S", "out=out", cwd=tmp_path))
    ranked = json.loads((tmp_path / "out" / "compare.json").read_text())["rankings"][0]["groups"]
    found = {
        f"S/trial_{trial.number:03d}": pytest.approx(trial.value, abs=1e-12) for trial in trials_in(tmp_path / "S")
    }
    assert {run["folder"]: group["mean"] for group in ranked for run in group["runs"]} == found


def test_trials_on_other_targets_stop_the_search(searched: Searched, tmp_path: Path) -> None:
    done = searched("data.train_fraction=0.5,0.7", "study=S", code=1)
    assert "error: the losses of S/trial_000 and S/trial_001 are over other targets, which no search" in done.stderr
    assert [trial.state for trial in trials_in(tmp_path / "S")] == [TrialState.COMPLETE, TrialState.RUNNING]


@pytest.fixture
def abandoned(tmp_path: Path) -> Path:
    """The folder of a study whose one trial was left by a worker that died."""
    next(reopened(tmp_path / "study").trials(1))
    return tmp_path / "study"


def reopened(folder: Path) -> Search:
    return Search(folder, RATES, {}, seed=1, prune=False, goal=Goal(seeds=(1, 2)))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_params SET param_value = 0.5",
        "UPDATE trial_params SET distribution_json = "
        """'{"name": "CategoricalDistribution", "attributes": {"choices": ["${oc.env:HOME}"]}}', param_value = 0""",
        "UPDATE trials SET state = 'COMPLETE'",
        "INSERT INTO trial_params VALUES (9, 1, 'init', 0.01, (SELECT distribution_json FROM trial_params))",
        "UPDATE alembic_version SET version_num = 'v9.9.9.z'",
    ],
)
def test_nothing_is_taken_from_a_study_but_values_of_its_own_space(change: str, abandoned: Path) -> None:
    with contextlib.closing(sqlite3.connect(abandoned / "study.db")) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(UserError, match=r"study\.db") as raised:
        reopened(abandoned)
    assert "\n" not in str(raised.value)


def test_no_seed_of_a_trial_is_trained_through_a_link(abandoned: Path, tmp_path: Path) -> None:
    (abandoned / "trial_000" / "seed_2").symlink_to(tmp_path)
    with pytest.raises(UserError, match="trial_000/seed_2 is a link: a trial's run must be in the folder of its study"):
        next(reopened(abandoned).trials(1))


@pytest.mark.slow
def test_the_page_about_searching_runs_as_written(script: Script, corpus: list[str], tmp_path: Path) -> None:
    """But for the length of its runs and the number of its trials."""
    page = (REPOSITORY / "docs" / "searching.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    assert len(commands) >= 4
    short = [*SHORT[1:], "schedule.warmup_iters=0", *corpus]
    for trials, (python, name, *arguments) in enumerate(commands, start=2):
        assert python == "python"
        more = [*short, f"n_trials={trials}"] if name == "search.py" else []
        succeeded(script(name, *arguments, *more, cwd=tmp_path))
    assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"search_v6", "mine"}
