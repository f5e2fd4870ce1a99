"""Run folders: never shared, whole or absent, and nothing but data."""

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpt.errors import RequestError, UserError
from gpt.files import write_atomically
from gpt.runs import RunFolder, finished_runs
from tests.conftest import build_small


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunFolder:
    """A finished run that a test may damage."""
    original = finished_runs(trained / "runs")[-1][0].path
    return RunFolder(shutil.copytree(original, tmp_path / "run"))


def test_a_run_folder_has_all_there_is_to_know(run: RunFolder) -> None:
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "tokenizer.json", "metrics.jsonl", "best.safetensors", "last.safetensors",
        "summary.json", "loss.png", "sample.txt", "train.log", "checkpoints", ".lock",
    }  # fmt: skip
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["stage"] == "v7"
    assert summary["seed"] == 1337
    assert summary["iterations"] == 60
    assert summary["documented"] == {"train": 1.0763, "val": 1.4873, "kind": "estimated"}
    assert summary["estimated"].keys() == {"train", "val"}
    assert summary["exact"].keys() == {"val"}
    assert "training.max_iters=60" in summary["changed"]
    assert "data.name=text" in summary["changed"]
    assert not any(change.startswith("training.eval_interval") for change in summary["changed"])
    for key in ("parameters", "tokens_per_second", "seconds", "device", "dtype", "versions", "git_commit"):
        assert summary[key], key
    assert (run.path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len((run.path / "sample.txt").read_text()) == 500
    assert "documented" in (run.path / "train.log").read_text()


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        paths = {run.path for run in pool.map(lambda _: RunFolder.create(tmp_path, "same"), range(64))}
    assert len(paths) == 64
    assert len(list(tmp_path.iterdir())) == 64


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer.json", "summary.json", "metrics.jsonl", "last.safetensors"])
@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe\x00", b"[]", b"{", b"{}", b"a: [", b"!!python/object/apply:os.system ['true']"]
)
def test_a_missing_or_damaged_file_is_named_in_one_line(run: RunFolder, name: str, content: bytes | None) -> None:
    path = run.path / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    read = {
        "config.yaml": run.config,
        "tokenizer.json": run.tokenizer,
        "summary.json": run.summary,
        "metrics.jsonl": run.metrics,
        "last.safetensors": lambda: run.load_weights(build_small("v7"), "last"),
    }[name]
    with pytest.raises(UserError) as error:
        read()
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match="is damaged or belongs to another model"):
        run.load_weights(build_small("v6"), "last")


def test_a_configuration_that_asks_for_foreign_code_is_refused(run: RunFolder, tmp_path: Path) -> None:
    path = run.path / "config.yaml"
    content = path.read_text().replace("gpt.models.v7_dropout.DropoutModel", "os.system").rpartition("#")[0]
    path.write_text(f"{content}# sha256 of all above: {hashlib.sha256(content.encode()).hexdigest()}\n")
    with pytest.raises(RequestError, match=r"_target_=os\.system is not a stage"):
        run.load_model("last")


def test_the_newest_run_is_the_last_finished_one(run: RunFolder) -> None:
    summary = run.summary()
    for name, day in (("a", 2), ("b", 3), ("c", 1)):
        folder = RunFolder.create(run.path.parent / "runs", name)
        shutil.copy(run.path / "metrics.jsonl", folder.path)
        folder.write_summary(summary.model_copy(update={"finished": datetime(2030, 1, day, tzinfo=UTC)}))
    RunFolder.create(run.path.parent / "runs", "unfinished")
    assert [found.path.name for found, _ in finished_runs(run.path.parent / "runs")] == ["c", "a", "b"]


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
