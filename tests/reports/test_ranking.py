"""Any runs are grouped by what differs between them, and ranked."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt.base.files import read_text_file
from gpt.registry import Choice
from gpt.reports.listing import corpus_name
from gpt.reports.ranking import label, names, p_value, rankings
from gpt.reports.tables import table
from gpt.runs.finding import FinishedRun, finished_runs, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.naming import run_dirs
from gpt.runs.records import Parent
from tests.conftest import REPOSITORY, Script, TrainedOnce, refused, succeeded
from tests.losses import exact

RUN = REPOSITORY / "tests" / "runs" / "formats" / "1.0.0"
RATE = "training.learning_rate"


def copies(folder: Path, losses: dict[str, list[float]], run: Path = RUN) -> list[FinishedRun]:
    """Copies of a run with other learning rates, given as a key, and other exact losses, one per seed."""
    found = []
    for rate, by_seed in losses.items():
        for seed, loss in enumerate(by_seed):
            copy = RunFolder(Path(shutil.copytree(run, folder / f"{rate}_{seed}")))
            configure(copy, seed=seed, training={"learning_rate": float(rate)})
            summary = copy.summary()
            update = {
                "seed": seed,
                "tags": ["copy"],
                "exact": summary.exact.model_copy(update={"nats": loss}),
                "changed": [*summary.changed, f"{RATE}={rate}"],
            }
            copy.write_summary(summary.model_copy(update=update))
            found.append(FinishedRun(copy, copy.summary()))
    return found


def configure(run: RunFolder, training: dict[str, Any] | None = None, **changes: Any) -> None:
    """Change the configuration of a run: keys of the training, and others."""
    config = run.config()
    changes["training"] = config.training.model_copy(update=training or {})
    run.write_config(config.model_copy(update=changes))


def test_what_varies_becomes_a_column_and_seeds_are_averaged(trained_run: TrainedOnce, tmp_path: Path) -> None:
    for stage, loss in (("v1", 2.0), ("v5", 1.0)):
        losses = {"0.001": [loss, loss + 0.2], "0.1": [loss + 0.3, loss + 0.4]}
        copies(tmp_path / "runs" / stage, losses, trained_run(stage))
    shutil.copytree(RUN, tmp_path / "runs" / "other")
    main, other = sorted(rankings(finished_runs(tmp_path / "runs"), "exact"), key=lambda r: -len(r.groups))
    assert main.keys == ["stage", RATE]  # what follows from the stage is left out
    assert [tuple(group.values.values()) for group in main.groups] == [
        ("v5", 1e-3),
        ("v5", 1e-1),
        ("v1", 1e-3),
        ("v1", 1e-1),
    ]
    assert [group.mean for group in main.groups] == pytest.approx([1.1, 1.35, 2.1, 2.35])
    assert [len(group.runs) for group in main.groups] == [2, 2, 2, 2]
    assert set(main.shared) >= {"training.max_iters=20", "data=text"}
    assert (len(other.groups), other.keys) == (1, [])  # a loss on another text is not comparable
    assert {group.standing for group in other.groups} == {"best"}


def test_thousands_of_runs_are_compared_by_reading_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies(tmp_path, {"0.1": [2.0, 2.1], "0.2": [2.0, 2.1]})
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return read_text_file(path)

    for module in ("gpt.runs.folder", "gpt.runs.records"):
        monkeypatch.setattr(f"{module}.read_text_file", counting)
    found = finished_runs(tmp_path)
    started_runs(tmp_path, stages=["v1"], is_finished=False)
    (ranking,) = rankings(found, "exact")
    table(ranking, "exact", "github")
    assert len({*read}) == 4 * len(found)
    assert len(read) <= 6 * len(found) + 3  # run.json three times, and those of the newest run again, for the title


def test_runs_that_recorded_a_metric_are_ranked_by_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = []
    metrics = {name: Choice(_target_=f"gpt.training.metrics.{name}") for name in ("accuracy", "entropy")}
    for run, summary in copies(tmp_path, {"1": [2.0, 2.1], "0.2": [3.0]}):
        configure(run, metrics=metrics)
        values = {"accuracy": 0.25 * len(found), "entropy": 1.0}
        found.append(FinishedRun(run, summary.model_copy(update={"metrics": values})))
    (ranking,) = rankings([*found, *finished_runs(RUN)], "accuracy")
    assert [(group.mean, group.values[RATE]) for group in ranking.groups] == [(0.5, 0.2), (0.125, 1)]
    text = table(ranking, "accuracy", "simple")
    assert (text.count("accuracy"), "accuracy, estimated" in text, "Nats" in text) == (1, True, False)
    assert re.search(r"1\.0\.0 .*accuracy", caplog.text)
    assert rankings(found, "entropy") == []
    assert "metric entropy" in caplog.text


def test_keys_whose_values_differ_as_numbers_are_columns(tmp_path: Path) -> None:
    found = copies(tmp_path, {"1": [2.0, 2.2], "0.2": [2.1], "0.4": [2.2]})
    for size, (run, _) in enumerate(found):
        configure(run, {"batch_size": max(size, 1)} | ({} if size else {"learning_rate": 1}))  # and not 1.0
    (ranking,) = rankings(found, "exact")
    assert sorted(ranking.keys) == ["training.batch_size", RATE]
    assert [len(group.runs) for group in ranking.groups] == [2, 1, 1]


def test_the_newest_run_of_a_seed_counts(tmp_path: Path) -> None:
    old, new = (copies(tmp_path / name, {"0.1": [loss]}) for name, loss in (("a", 3.0), ("b", 2.0)))
    (ranking,) = rankings([*old, *new], "exact")
    assert [(group.mean, len(group.runs)) for group in ranking.groups] == [(2.0, 1)]
    assert ranking.older == old
    assert f"newer run of the same settings and seed: {tmp_path / 'a' / '0.1_0'}." in table(ranking, "exact", "simple")


def test_other_evaluations_are_other_settings_for_the_best_loss_alone(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.1": [2.0, 2.2]})
    before = found[0].folder.config().training.model_dump()
    for value, (run, _) in enumerate(found, start=1):
        configure(run, {**before, "eval_iters": value})
    assert [len(rankings(found, metric)[0].groups) for metric in ("exact", "best")] == [1, 2]


def test_losses_that_cannot_be_compared_are_not_ranked_together(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.1": [2.0, 2.1, 2.2], "0.2": [0.1, 0.2]})
    sampled = [(80, 8), (80, 8), (80, 16), (40, 8), (900, 8)]  # targets, and the length of a window
    for number, (run, (targets, T)) in enumerate(zip(found, sampled, strict=True)):
        loss = exact(2.0, targets, window=T)
        found[number] = FinishedRun(run.folder, run.summary.model_copy(update={"exact": loss}))
    assert [len(ranking.groups[0].runs) for ranking in rankings(found, "exact")] == [2, 1, 1, 1]
    assert len(rankings(found, "val")) == 1
    (joined,) = rankings(found, "exact", joined=True)
    assert sorted(len(group.runs) for group in joined.groups) == [1, 1, 1, 2]


def test_runs_on_different_texts_are_no_repetitions(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.1": [2.0, 2.2]})
    run = found[1].folder
    run.write_vocabulary(run.vocabulary().model_copy(update={"corpus": "another"}))
    configure(run, data=Choice.model_validate(run.config().data.model_dump(by_alias=True) | {"path": "another.txt"}))
    (joined,) = rankings(found, "exact", joined=True)
    assert [len(group.runs) for group in joined.groups] == [1, 1]


def test_forks_of_the_same_weights_are_repetitions(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.1": [2.0, 2.2, 2.4]})
    for (run, _), folder, digest in zip(found, ("here", "there", "here"), "aab", strict=True):
        run.update(parent=Parent(run=folder, stage="v1", iterations=4, weights="best", sha256=64 * digest))
        configure(run, init=folder)
    (ranking,) = rankings(found, "exact")
    assert [len(group.runs) for group in ranking.groups] == [2, 1]


def test_runs_that_have_no_result_are_told(
    called: Script, trained_run: TrainedOnce, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One was killed, one diverged and one failed, each at another learning rate."""
    found = copies(tmp_path / "runs", {"0.1": [2.0], "0.2": [2], "0.4": [2], "0.8": [2]})
    for run, _ in found[1:]:
        (run.path / "summary.json").unlink()
    found[2].folder.update(ending="diverged")
    found[3].folder.update(ending="failed")
    done = succeeded(called("compare.py", "out=runs.csv", cwd=tmp_path))
    told = [f"{how} at iteration 40 of 40" for how in ("killed", "diverged", "failed")]
    assert all(standing in done.stdout for standing in told)
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [(row[RATE], row["standing"]) for row in rows] == [
        ("0.1", "best"),
        *zip(("0.2", "0.4", "0.8"), told, strict=True),
    ]
    shutil.rmtree(found[0].folder.path)
    none = called("compare.py", cwd=tmp_path)
    refused(none, "resume=runs/0.8_0")
    killed = found[1].folder
    assert str(killed.path) not in caplog.text
    assert len(rankings(finished_runs(trained_run("v1")), "exact", [killed])) == 1
    assert str(killed.path) in caplog.text


def test_groups_within_the_noise_of_the_best_are_marked(tmp_path: Path) -> None:
    """Welch's test of the first three against the second: t = 1.22, p = 0.29; against the third: t = 7.3, p = 0.002."""
    losses = {"0.1": [1.0, 1.1, 1.2], "0.2": [1.1, 1.2, 1.3], "0.3": [1.6, 1.7, 1.8], "0.4": [1.25], "0.5": [1.9]}
    (ranking,) = rankings(copies(tmp_path, losses | {"9": [1e5]}), "exact")
    found = {group.values[RATE]: group.standing for group in ranking.groups}
    assert found == {
        0.1: "best",
        0.2: "within noise",
        0.3: "",
        0.4: "undecided with 1 seed",
        0.5: "",
        9: "worse than guessing",
    }
    assert ranking.is_tested


def test_the_p_value_is_that_of_students_distribution() -> None:
    assert [p_value(12.706, 1), p_value(2.776, 4)] == pytest.approx([0.05, 0.05], abs=1e-4)


def test_keys_are_named_as_briefly_as_possible() -> None:
    assert names([RATE, "optimizer._target_", "a.decay", "b.decay"]) == {
        RATE: "learning_rate",
        "optimizer._target_": "optimizer",
        "a.decay": "a.decay",
        "b.decay": "b.decay",
    }


def test_groups_are_labelled_as_briefly_as_possible() -> None:
    assert label({"optimizer._target_": "gpt.training.optimizers.muon"}) == "muon"
    assert label({RATE: 0.1}) == "learning_rate=0.1"
    assert label({"stage": "gru", "data.distance": 4}) == "gru, distance=4"


def test_a_comma_in_a_folder_name_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert run_dirs(str(tmp_path / "a,b")) == [tmp_path / "a,b"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"_target_": "gpt.data.corpora.text", "path": "a/small.txt", "separator": "\n", "train_fraction": 0.9,
          "split": "place", "encoding": "utf-8", "newlines": "kept", "tokenizer": "characters", "vocab_size": 1000},
         "small.txt"),
        ({"_target_": "gpt.data.corpora.text", "path": "small.txt", "train_fraction": 0.9}, "small.txt"),
        ({"_target_": "gpt.data.corpora.text", "path": "small.txt", "train_fraction": 0.8, "newlines": "unix",
          "encoding": "latin-1"}, "small.txt, train_fraction=0.8, newlines=unix, encoding=latin-1"),
        ({"_target_": "gpt.data.lines.recall", "pairs": 4, "distance": 3, "size": 20000}, "recall, distance=3"),
        ({"_target_": "gpt.data.lines.documents", "path": ["a", "b"], "separator": "\n", "train_fraction": 0.9},
         "a and b"),
        ({"_target_": "gpt.data.corpora.parallel", "source": "a", "target": "b", "held_out": 0.05, "vocab_size": 4000},
         "a and b"),
        ({"_target_": "gpt.data.corpora.huggingface", "name": "roneneldan/TinyStories", "subset": None,
          "split": "train", "field": "text", "separator": "\n", "tokenizer": "characters", "vocab_size": 1000},
         "TinyStories"),
        ({"_target_": "gpt.data.corpora.shakespeare", "train_fraction": 0.5}, "tiny Shakespeare, train_fraction=0.5"),
    ],
)  # fmt: skip
def test_a_corpus_is_named_without_default_values(data: dict[str, Any], name: str, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(RUN, tmp_path / "run")))
    configure(run, data=Choice.model_validate(data))
    assert corpus_name(run) == name
