"""Any runs are grouped by what differs between them, ranked, and drawn."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.base.files import read_text_file
from gpt.reports import against, plots
from gpt.reports.documented import compare
from gpt.reports.ranking import label, names, p_value, rankings
from gpt.reports.tables import as_records, table
from gpt.runs.finding import FinishedRun, finished_runs, roots, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Metric, Parent
from gpt.training.progress import Progress
from tests.conftest import Script
from tests.faults.trials import tree
from tests.losses import exact

SHORT = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1", "data=text"]


@pytest.fixture(scope="module")
def sweep(script: Script, corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages, two learning rates and two seeds; and one run of another text."""
    folder = tmp_path_factory.mktemp("sweep")
    swept = ["-m", "model=v1,v3", "training.learning_rate=1e-3,1e-1", "seed=1,2", "tags=[swept]"]
    where = [f"data.path='{corpus_file}'", "hydra.sweep.dir=runs/sweep"]
    done = script("train.py", *swept, *SHORT, *where, cwd=folder)
    assert done.returncode == 0, done.stderr
    other = folder / "other.txt"
    other.write_text("another text " * 200)
    done = script("train.py", "model=v1", *SHORT, "data.path=other.txt", "hydra.run.dir=runs/other", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def copies(run: Path, folder: Path, losses: dict[str, list[float]]) -> list:
    """Copies of a run with other learning rates, given as a key, and other losses, one per seed."""
    found = []
    for rate, by_seed in losses.items():
        for seed, loss in enumerate(by_seed):
            copy = RunFolder(Path(shutil.copytree(run, folder / f"{rate}_{seed}")))
            config = copy.config()
            training = config.training.model_copy(update={"learning_rate": float(rate)})
            copy.write_config(config.model_copy(update={"training": training, "seed": seed}))
            update = {
                "seed": seed,
                "exact": exact(loss),
                "changed": [f"training.learning_rate={rate}"],
            }
            found.append(FinishedRun(copy, copy.summary().model_copy(update=update)))
    return found


def test_thousands_of_runs_are_compared_by_reading_each_file_once(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(path: Path, *, largest: int = 2**22) -> str:
        read.append(path)
        return read_text_file(path, largest=largest)

    for module in ("gpt.runs.folder", "gpt.runs.records"):
        monkeypatch.setattr(f"{module}.read_text_file", counting)
    found = finished_runs(sweep / "runs" / "sweep")
    started_runs(sweep / "runs" / "sweep", stages=["v1"], is_finished=False)
    (ranking,) = rankings(found, "exact")
    table(ranking, "exact", "github")
    assert len(read) <= 3 * len(found) + 2  # and those of the newest run again, for the title


def test_what_varies_becomes_a_column_and_seeds_are_averaged(sweep: Path) -> None:
    main, other = sorted(rankings(finished_runs(sweep / "runs"), "exact"), key=lambda r: -len(r.groups))
    assert main.keys == ["stage", "training.learning_rate"]  # what follows from the stage is left out
    assert [len(group.runs) for group in main.groups] == [2, 2, 2, 2]
    assert {(g.values["stage"], g.values["training.learning_rate"]) for g in main.groups} == {
        ("v1", 1e-3), ("v1", 1e-1), ("v3", 1e-3), ("v3", 1e-1),
    }  # fmt: skip
    means = [group.mean for group in main.groups]
    assert means == sorted(means)
    assert means[0] == pytest.approx(sum(s.exact.nats for _, s in main.groups[0].runs) / 2)
    assert set(main.shared) >= {"training.max_iters=4", "data=text"}
    assert (len(other.groups), other.keys) == (1, [])  # a loss on another text is not comparable
    assert {group.standing for group in other.groups} == {"best"}


def test_runs_that_recorded_a_metric_are_ranked_by_it(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    metrics = {name: Choice(_target_=f"gpt.training.metrics.{name}") for name in ("accuracy", "entropy")}
    for run, summary in copies(sweep / "runs" / "other", tmp_path, {"1": [2.0, 2.1], "0.2": [3.0]}):
        run.write_config(run.config().model_copy(update={"metrics": metrics}))
        values = {"accuracy": 0.25 * len(found), "entropy": 1.0}
        found.append(FinishedRun(run, summary.model_copy(update={"metrics": values})))
    (ranking,) = rankings([*found, *finished_runs(sweep / "runs" / "other")], "accuracy")
    assert [(group.mean, group.values["training.learning_rate"]) for group in ranking.groups] == [
        (0.5, 0.2),
        (0.125, 1),
    ]
    text = table(ranking, "accuracy", "simple")
    assert (text.count("accuracy"), "accuracy, estimated" in text, "Nats" in text) == (1, True, False)
    assert "other is not ranked: its accuracy was not recorded, or is NaN or Inf" in caplog.text
    assert rankings(found, "entropy") == []
    assert "the metric entropy does not say whether lower or higher is better" in caplog.text


def test_every_key_that_differs_is_a_column_and_equal_numbers_are_one_value(sweep: Path, tmp_path: Path) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"1": [2.0, 2.2], "0.2": [2.1], "0.4": [2.2]})
    for size, (run, _) in enumerate(found):
        update = {"batch_size": max(size, 1)} | ({} if size else {"learning_rate": 1})  # and not 1.0
        training = run.config().training.model_copy(update=update)
        run.write_config(run.config().model_copy(update={"training": training}))
    (ranking,) = rankings(found, "exact")
    assert sorted(ranking.keys) == ["training.batch_size", "training.learning_rate"]
    assert [len(group.runs) for group in ranking.groups] == [2, 1, 1]


def test_the_newest_run_of_a_seed_counts_and_the_others_are_named(sweep: Path, tmp_path: Path) -> None:
    run = sweep / "runs" / "other"
    old, new = (copies(run, tmp_path / name, {"0.1": [loss]}) for name, loss in (("a", 3.0), ("b", 2.0)))
    (ranking,) = rankings([*old, *new], "exact")
    assert [(group.mean, len(group.runs)) for group in ranking.groups] == [(2.0, 1)]
    assert ranking.older == old
    assert f"newer run of the same settings and seed: {tmp_path / 'a' / '0.1_0'}." in table(ranking, "exact", "simple")
    assert as_records([ranking])[0]["older"] == [str(tmp_path / "a" / "0.1_0")]


@pytest.mark.parametrize(
    ("settings", "differing", "metric", "groups"),
    [
        ({}, "eval_interval", "exact", 1),
        ({}, "eval_iters", "exact", 1),
        ({"average_last": 0.5}, "eval_interval", "exact", 2),
        ({"average_last": 0.5}, "eval_iters", "exact", 1),
        ({"patience": 3}, "eval_interval", "exact", 2),
        ({"patience": 3}, "eval_iters", "exact", 2),
        ({}, "eval_interval", "best", 2),
        ({}, "eval_iters", "best", 2),
    ],
)
def test_other_evaluations_are_other_settings_where_the_result_depends_on_them(
    sweep: Path, tmp_path: Path, settings: dict[str, float], differing: str, metric: Metric, groups: int
) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0, 2.2]})
    for (run, _), value in zip(found, (1, 2), strict=True):
        config = run.config()
        training = config.training.model_copy(update={**settings, differing: value})
        run.write_config(config.model_copy(update={"training": training}))
    (ranking,) = rankings(found, metric)
    assert len(ranking.groups) == groups


def test_losses_that_cannot_be_compared_are_not_ranked_together(sweep: Path, tmp_path: Path) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0, 2.1, 2.2], "0.2": [0.1, 0.2]})
    sampled = [(80, 8), (80, 8), (80, 16), (40, 8), (900, 8)]  # targets, and the length of a window
    for number, (run, (targets, T)) in enumerate(zip(found, sampled, strict=True)):
        loss = exact(2.0, targets, window=T)
        found[number] = FinishedRun(run.folder, run.summary.model_copy(update={"exact": loss}))
    assert [len(ranking.groups[0].runs) for ranking in rankings(found, "exact")] == [2, 1, 1, 1]
    assert len(rankings(found, "val")) == 1
    (joined,) = rankings(found, "exact", joined=True)
    assert sorted(len(group.runs) for group in joined.groups) == [1, 1, 1, 2]


def test_texts_that_are_drawn_as_one_ranking_are_no_repetitions_of_each_other(sweep: Path, tmp_path: Path) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0, 2.2]})
    run = found[1].folder
    run.write_vocabulary(run.vocabulary().model_copy(update={"corpus": "another"}))
    config = run.config()
    data = Choice.model_validate(config.data.model_dump(by_alias=True) | {"path": "another.txt"})
    run.write_config(config.model_copy(update={"data": data}))
    (joined,) = rankings(found, "exact", joined=True)
    assert [len(group.runs) for group in joined.groups] == [1, 1]


def test_forks_are_repetitions_if_they_started_from_the_same_weights_wherever_these_were(
    sweep: Path, tmp_path: Path
) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0, 2.2, 2.4]})
    for (run, _), folder, digest in zip(found, ("here", "there", "here"), "aab", strict=True):
        run.write_parent(Parent(run=folder, stage="v1", iterations=4, weights="best", sha256=64 * digest))
        run.write_config(run.config().model_copy(update={"init": folder}))
    (ranking,) = rankings(found, "exact")
    assert [len(group.runs) for group in ranking.groups] == [2, 1]


def test_runs_that_have_no_result_are_told(called: Script, sweep: Path, tmp_path: Path) -> None:
    """One was killed, one diverged and one failed, each at another learning rate."""
    found = copies(sweep / "runs" / "other", tmp_path / "runs", {"0.1": [2.0], "0.2": [2], "0.4": [2], "0.8": [2]})
    for run, _ in found[1:]:
        (run.path / "summary.json").unlink()
    found[2].folder.write_ending("diverged")
    found[3].folder.write_ending("failed")
    done = called("compare.py", "by=learning_rate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [f"{how} at iteration 4 of 4" for how in ("killed", "diverged", "failed")]
    assert all(standing in done.stdout for standing in told)
    assert all(standing in (tmp_path / "runs" / "compare.md").read_text() for standing in told)
    rows = list(csv.DictReader((tmp_path / "runs" / "compare.csv").open()))
    assert [(row["training.learning_rate"], row["standing"]) for row in rows] == [
        ("0.1", "best"), *zip(("0.2", "0.4", "0.8"), told, strict=True)
    ]  # fmt: skip
    (ranking,) = json.loads((tmp_path / "runs" / "compare.json").read_text())["rankings"]
    assert [run["state"] for run in ranking["unfinished"]] == ["killed", "diverged", "failed"]
    shutil.rmtree(found[0][0].path)
    refused = called("compare.py", cwd=tmp_path)
    assert refused.stderr.startswith("error: no finished run in runs: 3 started and did not finish; resume=runs/0.8_0")
    assert refused.stderr.count("\n") == 1


def test_an_unfinished_run_on_a_corpus_without_results_is_told(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (killed,) = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0]})
    assert len(rankings(finished_runs(sweep / "runs" / "sweep"), "exact", [killed[0]])) == 1
    assert f"{killed[0].path} has not finished" in caplog.text


def test_groups_within_the_noise_of_the_best_are_marked(sweep: Path, tmp_path: Path) -> None:
    """Welch's test of the first three against the second: t = 1.22, p = 0.29; against the third: t = 7.3, p = 0.002."""
    losses = {"0.1": [1.0, 1.1, 1.2], "0.2": [1.1, 1.2, 1.3], "0.3": [1.6, 1.7, 1.8], "0.4": [1.25], "0.5": [1.9]}
    (ranking,) = rankings(copies(sweep / "runs" / "other", tmp_path, losses), "exact")
    found = {group.values["training.learning_rate"]: group.standing for group in ranking.groups}
    assert found == {0.1: "best", 0.2: "within noise", 0.3: "", 0.4: "undecided with 1 seed", 0.5: ""}
    assert ranking.is_tested


def test_a_diverged_group_is_marked_above_the_others_and_single_seeds_tell_nothing_of_the_noise(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"0.001": [1.8], "0.01": [1.5], "0.1": [1e5]}
    (ranking,) = rankings(copies(sweep / "runs" / "other", tmp_path, losses), "exact")
    assert [group.standing for group in ranking.groups] == ["best", "", "worse than guessing"]
    assert not ranking.is_tested
    figures: list = []
    monkeypatch.setattr(against, "write_picture", lambda _, figure: figures.append(figure))
    against.draw(ranking, ["learning_rate"], "exact", tmp_path / "by.png")
    (axes,) = figures[0].axes
    assert axes.get_ylim() == pytest.approx((1.47, 1.83))
    (cross,) = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert (cross.get_xdata().item(), cross.get_ydata().item()) == (0.1, 0.97)  # of the height
    assert "diverged" in axes.get_legend_handles_labels()[1]
    assert list(axes.get_xticks()) == [0.001, 0.01, 0.1]


def test_lines_of_a_picture_are_named_in_the_order_of_their_values(sweep: Path, tmp_path: Path) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0], "0.01": [1.5], "2": [1.0], "10": [3.0]})
    (ranking,) = rankings(found, "exact")
    lines = against._lines(ranking.groups, "stage")
    assert [name.partition("=")[2] for name in lines] == ["0.01", "0.1", "2.0", "10.0"]


def test_the_mean_curve_has_the_iterations_that_all_seeds_have(sweep: Path, tmp_path: Path) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0, 2.2]})
    first = found[0][0]
    evaluations = first.evaluations()
    first.write_metrics(Progress(iteration=4, evaluations=[evaluations[0], evaluations[-1]]))
    axes = Figure().subplots()
    plots._draw_groups(axes, [("both", found)], "iterations", "token")
    *_, mean = axes.lines
    assert list(mean.get_xdata()) == [0, 4]


def test_a_run_with_a_damaged_history_has_no_curve_and_is_named(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = copies(sweep / "runs" / "other", tmp_path, {"0.1": [2.0], "0.2": [2.2]})
    path = found[0][0].path / "metrics.jsonl"
    path.write_text(path.read_text().replace("train", "strain", 1))
    comparison = compare([], tolerance=0.03)
    assert plots.curves(comparison, rankings(found, "exact"), "iterations", tmp_path / "compare.png")
    assert f"no curve: {path}" in caplog.text


@pytest.mark.parametrize(("t", "degrees"), [(12.706, 1), (2.776, 4)])
def test_the_p_value_is_that_of_a_table_of_students_distribution(t: float, degrees: float) -> None:
    assert p_value(t, degrees) == pytest.approx(0.05, abs=1e-4)


def test_keys_and_groups_are_named_as_shortly_as_they_can_be() -> None:
    assert names(["training.learning_rate", "optimizer._target_", "a.decay", "b.decay"]) == {
        "training.learning_rate": "learning_rate", "optimizer._target_": "optimizer", "a.decay": "a.decay",
        "b.decay": "b.decay",
    }  # fmt: skip
    assert label({"optimizer._target_": "gpt.training.optimizers.muon"}) == "muon"
    assert label({"training.learning_rate": 0.1}) == "learning_rate=0.1"
    assert label({"stage": "gru", "data.distance": 4}) == "gru, distance=4"


def test_a_comma_in_the_name_of_a_folder_is_no_separator(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert roots(str(tmp_path / "a,b")) == [tmp_path / "a,b"]


def test_compare_writes_tables_and_pictures(called: Script, sweep: Path, tmp_path: Path) -> None:
    arguments = ["runs=runs/sweep,runs/other", "by=[learning_rate,stage]", f"out={tmp_path}", "x=seconds", "metric=val"]
    both = called("compare.py", *arguments, cwd=sweep)
    assert both.returncode == 0, both.stderr  # although nothing varies among the runs of the other text
    before = tree(tmp_path)
    refused = called("compare.py", "runs=runs/other", "by=learning_rate", f"out={tmp_path}", cwd=sweep)
    assert refused.returncode == 2
    assert tree(tmp_path) == before
    assert "by=learning_rate does not vary between these runs; these keys do: none" in refused.stderr
    done = called("compare.py", *arguments, "tags=[swept]", cwd=sweep)
    assert done.returncode == 0, done.stderr
    assert "8 runs on words, and (more).txt" in done.stdout
    assert done.stderr == ""
    rows = list(csv.DictReader((tmp_path / "compare.csv").open()))
    assert [(sweep / row["folder"] / "summary.json").exists() for row in rows] == [True] * 8
    (ranking,) = json.loads((tmp_path / "compare.json").read_text())["rankings"]
    assert ranking["groups"][0]["standing"] == "best"
    for name in ("compare.png", "compare_by.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "| v3 " in (tmp_path / "compare.md").read_text()
    again = called("compare.py", "runs=runs/other", f"out={tmp_path}", cwd=sweep)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "compare_by.png").exists()  # it would be beside the tables of other runs


def test_a_hyperparameter_that_does_not_set_the_size_has_lines_of_its_own(sweep: Path, tmp_path: Path) -> None:
    found = []
    for number, (loss, width, heads) in enumerate([(3.0, 8, 1), (2.9, 8, 4), (2.8, 16, 1), (2.7, 16, 4)]):
        run, summary = copies(sweep / "runs" / "other", tmp_path / str(number), {"0.1": [loss]})[0]
        model = Choice.model_validate({"_target_": "gpt.models.v5_residual.GPT", "n_embd": width, "n_head": heads})
        run.write_config(run.config().model_copy(update={"model": model}))
        found.append(FinishedRun(run, summary.model_copy(update={"parameters": 100 * width})))
    (ranking,) = rankings(found, "exact")
    assert {tuple(group.values.items()) for group in against.with_sizes(ranking, ["parameters"]).groups} == {
        (("model.n_head", heads), ("parameters", 100 * width)) for width in (8, 16) for heads in (1, 4)
    }


def test_the_loss_is_drawn_against_the_parameters_or_the_compute(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for each setting that does not set the size."""
    found = []
    for number, (loss, width, iterations) in enumerate([(3.0, 8, 4), (2.5, 8, 16), (2.8, 16, 4), (2.2, 16, 16)]):
        run, summary = copies(sweep / "runs" / "other", tmp_path / str(number), {"0.1": [loss]})[0]
        config = run.config()
        training = config.training.model_copy(update={"max_iters": iterations})
        model = Choice.model_validate({"_target_": "gpt.models.v5_residual.GPT", "n_embd": width})
        run.write_config(config.model_copy(update={"training": training, "model": model}))
        size = {"parameters": 100 * width, "flops": 6.0 * 100 * width * iterations}
        found.append(FinishedRun(run, summary.model_copy(update=size)))
    (ranking,) = rankings(found, "exact")
    by_parameters, by_compute = (against.with_sizes(ranking, [size]) for size in ("parameters", "compute"))
    assert {tuple(group.values.items()) for group in by_parameters.groups} == {
        (("training.max_iters", n), ("parameters", p)) for n in (4, 16) for p in (800, 1600)
    }
    assert {tuple(group.values.items()) for group in by_compute.groups} == {
        (("model.n_embd", width), ("compute", 600.0 * width * n)) for width in (8, 16) for n in (4, 16)
    }
    against.draw(ranking, ["parameters"], "exact", tmp_path / "parameters.png")
    assert (tmp_path / "parameters.png").read_bytes().startswith(b"\x89PNG")
    uncounted = [FinishedRun(run, summary.model_copy(update={"flops": None})) for run, summary in found]
    (unknown,) = rankings(uncounted, "exact")
    with pytest.raises(RequestError, match=r"by=compute: .* does not state it: it could not be counted"):
        against.draw(unknown, ["compute"], "exact", tmp_path / "compute.png")
    assert plots.curves(compare(found, tolerance=0.1), [ranking], "compute", tmp_path / "curves.png")
    assert not plots.curves(compare(uncounted, tolerance=0.1), [unknown], "compute", tmp_path / "no_curves.png")
    assert "has no floating-point operations" in caplog.text
