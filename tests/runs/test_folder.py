"""Run folders: never shared, whole or absent, and nothing but data."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpt.base import files
from gpt.base.errors import RequestError, UserError
from gpt.base.files import write_atomically
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.naming import chosen_run
from gpt.runs.weights import load_weights
from tests.conftest import build_small, empty_run


def test_a_run_folder_has_all_there_is_to_know(run: RunFolder) -> None:
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "run.json", "tokenizer.json", "metrics.jsonl",
        "best.safetensors", "last.safetensors", "summary.json", "loss.png", "sample.txt", "train.log",
        "checkpoints", ".lock",
    }  # fmt: skip
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["stage"] == "v7"
    assert summary["seed"] == 1337
    assert summary["iterations"] == 60
    assert summary["documented"] == {"train": 1.0763, "val": 1.4873, "kind": "estimated"}
    assert summary["estimated"].keys() == {"train", "val"}
    assert summary["exact"]["over"]["split"] == "val"
    assert "training.max_iters=60" in summary["changed"]
    assert [change for change in summary["changed"] if change.startswith("data")] == ["data=text"]
    assert not any(change.startswith(("training.eval_interval", "data.path")) for change in summary["changed"])
    for key in ("parameters", "tokens_per_second", "seconds", "device", "dtype", "versions", "git_commit"):
        assert summary[key], key
    assert (run.path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len((run.path / "sample.txt").read_text()) == 500
    assert "documented" in (run.path / "train.log").read_text()


@pytest.mark.parametrize(("kind", "is_alike"), [("characters", True), ("sentence_subwords", True), ("bytes", False)])
def test_documented_losses_are_those_of_the_documented_tokens_only(kind: str, is_alike: bool, run: RunFolder) -> None:
    run.write_vocabulary(run.vocabulary().model_copy(update={"kind": kind}))
    assert run.documented().val == (1.4873 if is_alike else None)


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer.json", "summary.json", "metrics.jsonl", "last.safetensors"])
def test_a_missing_or_damaged_file_is_named_in_one_line(run: RunFolder, name: str) -> None:
    path = run.path / name
    read: dict[str, Callable[[], object]] = {
        "config.yaml": run.config,
        "tokenizer.json": run.vocabulary,
        "summary.json": run.summary,
        "metrics.jsonl": run.evaluations,
        "last.safetensors": lambda: load_weights(run, build_small("v7"), "last"),
    }
    path.unlink()
    for content in (None, b"", b"\xff\xfe\x00", b"{}", b"a: [", b"!!python/object/apply:os.system ['true']"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}[^\n]*$"):
            read[name]()


@pytest.mark.parametrize("key", ["seed: 1337", "compile: false"])
def test_a_configuration_may_be_edited_and_with_wrong_keys_is_damaged(run: RunFolder, key: str) -> None:
    path = run.path / "config.yaml"
    content = path.read_text()
    assert f"{key}\n" in content
    path.write_text(content.replace("batch_size: 16", "batch_size: 8  # by hand"))
    assert run.config().training.batch_size == 8
    for changed, word in (
        (content.replace(f"{key}\n", ""), key.partition(":")[0]),
        (f"{content}nonsense: 1\n", "nonsense"),
    ):
        path.write_text(changed)
        with pytest.raises(UserError, match=rf"config\.yaml .*{word}"):
            run.config()


def test_metrics_are_flat_rows(run: RunFolder) -> None:
    path = run.path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    common = {"iteration", "tokens", "learning_rate", "seconds", "tokens_per_second"}
    of_evaluation, of_step = common | {"train", "val"}, common | {"batch", "gradient_norm"}
    assert [row["iteration"] for row in rows] == [0, 20, 40, 50, 60]
    assert [row.keys() for row in rows] == [of_step if row["iteration"] == 50 else of_evaluation for row in rows]
    assert max(map(len, path.read_text().splitlines())) <= 200
    assert [row.iteration for row in run.evaluations()] == [0, 20, 40, 60]
    assert [row.iteration for row in run.steps()] == [50]
    assert [*run.clock()] == [0, 20, 40, 50, 60]
    path.write_text('{"iteration": 5, "kind": "stop"}\n')
    for read in (run.evaluations, run.steps):
        with pytest.raises(UserError, match=r"metrics\.jsonl"):
            read()


def test_a_summary_parses_the_last_line_of_the_metrics_alone(run: RunFolder) -> None:
    """compare.py reads the summaries of all runs, and a run may have 10,000 recorded steps."""
    path = run.path / "metrics.jsonl"
    *_, before, last = path.read_text().splitlines()
    path.write_text(f"not JSON\n{last}\n")
    assert run.summary().iterations == 60
    path.write_text(f"{before}\n")  # cut between two lines
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        run.summary()


def test_a_file_too_large_for_a_record_is_not_read(run: RunFolder) -> None:
    os.truncate(run.path / "summary.json", 2**27)  # without content on the disk
    with pytest.raises(UserError, match="134,217,728"):
        run.summary()


def test_the_newest_finished_run_is_chosen_unless_another_is_named(run: RunFolder) -> None:
    summary, root = run.summary(), run.path.parent / "runs"
    for name, day, stage in (("a", 2, "v5"), ("b", 3, "v2"), ("c", 1, "v2"), ("d", 4, "v3")):
        folder = empty_run(root / name)
        shutil.copy(run.path / "metrics.jsonl", folder.path)
        finished = datetime(2030, 1, day, tzinfo=UTC)
        folder.write_summary(summary.model_copy(update={"finished": finished, "stage": stage}))
    empty_run(root / "unfinished")
    assert [found.path.name for found, _ in finished_runs(root)] == ["c", "a", "b", "d"]
    assert chosen_run(None, str(root)).path == root / "d"
    assert chosen_run(None, str(root), "v2").path == root / "b"
    assert chosen_run(str(root / "a"), str(root)).path == root / "a"
    with pytest.raises(RequestError, match="model=v4"):
        chosen_run(None, str(root), "v4")
    with pytest.raises(RequestError, match="model="):
        chosen_run(str(run.path), str(root), "v4")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_whose_name_cannot_be_flushed_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in its place: the run would otherwise take the best weights of now for those of before."""

    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr(files, "flush_folder", broken)
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
