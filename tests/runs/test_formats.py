"""Run folders of every past format are read, resumed and compared; one of a newer format is passed over."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from gpt.base.files import seal
from gpt.reports.changes import changes
from gpt.runs import formats
from gpt.runs.folder import RunFolder
from gpt.training.progress import Segment
from tests.conftest import Script

GOLDEN = Path(__file__).parent / "formats"  # a finished run of each format, with the corpus that they were trained on


@pytest.fixture(params=range(1, formats.FORMAT + 1))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working folder with a run of a past or the present format."""
    shutil.copy(GOLDEN / "corpus.txt", tmp_path)
    shutil.copytree(GOLDEN / str(request.param), tmp_path / "runs" / "old")
    return tmp_path


def edited(run: Path, before: str, after: str) -> None:
    """Change config.yaml, and its checksum with it."""
    path = run / "config.yaml"
    content, mark, _ = path.read_text().rpartition("# sha256")
    content = content.replace(before, after)
    path.write_text(f"{content}{mark} of all above: {hashlib.sha256(content.encode()).hexdigest()}\n")


def test_an_older_run_is_sampled_evaluated_and_compared(called: Script, old: Path) -> None:
    text = called("generate.py", "tokens=20", cwd=old)
    assert text.returncode == 0, text.stderr
    assert len(text.stdout) == 21
    exact = called("evaluate.py", "data.path=corpus.txt", "weights=last", "json=true", cwd=old)
    assert exact.returncode == 0, exact.stderr
    summary = RunFolder(old / "runs" / "old").summary()
    assert json.loads(exact.stdout)["nats_per_character"] == pytest.approx(summary.exact.val, abs=1e-6)
    compared = called("compare.py", cwd=old)
    assert compared.returncode == 0, compared.stderr
    assert "skipped" not in compared.stderr


MORE = ["training.max_iters=60", "data=text", "data.path=corpus.txt"]


def same(config: dict[str, Any], *keys: str) -> list[str]:
    """The command that trains what the golden runs trained."""
    model = [f"model.{key}={config['model'][key]}" for key in ("n_embd", "n_head", "n_layer")]
    return ["model=v5", *model, *(f"training.{key}={config['training'][key]}" for key in keys)]


@pytest.fixture(scope="module")
def present(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the run of the present format, `extended`, and the same trained from the beginning."""
    folder = tmp_path_factory.mktemp("present")
    shutil.copy(GOLDEN / "corpus.txt", folder)
    shutil.copytree(GOLDEN / str(formats.FORMAT), folder / "extended")
    extended = script("train.py", "resume=extended", *MORE, "device=cpu", cwd=folder)
    assert extended.returncode == 0, extended.stderr
    config = RunFolder(GOLDEN / str(formats.FORMAT)).config().content()
    settings = same(config, "eval_interval", "eval_iters", "batch_size")
    whole = script("train.py", *settings, *MORE, "dtype=float32", "device=cpu", "hydra.run.dir=whole", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    return folder


def test_an_older_run_is_extended_as_one_of_today(called: Script, old: Path, present: Path) -> None:
    """To the bit as the run of the present format, and up to rounding as a run from the beginning: the golden runs
    come from another processor, whose matrix products may differ in the last bit.
    """
    run = RunFolder(old / "runs" / "old")
    before, today = run.evaluations(), RunFolder(GOLDEN / str(formats.FORMAT))
    keys = ("eval_interval", "eval_iters", "batch_size")
    assert same(run.config().content(), *keys) == same(today.config().content(), *keys)
    done = called("train.py", "resume=runs/old", *MORE, "device=cpu", cwd=old)
    assert done.returncode == 0, done.stderr
    assert run.weights("last").read_bytes() == RunFolder(present / "extended").weights("last").read_bytes()
    assert run.evaluations()[:3] == before
    assert [line.iteration for line in run.evaluations()] == [0, 20, 40, 60]
    extended, whole = (load_file(folder.weights("last")) for folder in (run, RunFolder(present / "whole")))
    torch.testing.assert_close(extended, whole, rtol=0, atol=1e-6)


def test_lines_of_the_metrics_that_do_not_say_their_kind_are_told_apart(old: Path) -> None:
    run = RunFolder(old / "runs" / "old")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    evaluations, steps = run.evaluations(), run.steps()
    assert [row.iteration for row in evaluations] == [0, 20, 40]
    assert [row.iteration for row in steps] == ([10, 20, 30, 40] if len(lines) > 3 else [])  # not kept by format 1
    assert [row.val for row in evaluations] == [line["val"] for line in lines if "val" in line]
    assert [row.loss for row in steps] == [line["loss"] for line in lines if "loss" in line]


def test_sentences_on_earlier_parts_of_an_older_run_become_fields_and_are_shown_as_they_were(old: Path) -> None:
    """As `changed` had them until format 5."""
    run = RunFolder(old / "runs" / "old")
    before = [
        "training.max_iters=40",
        "training.learning_rate=0.2",
        "schedule=cosine",
        "training.learning_rate as documented until iteration 20",
        "schedule as documented until iteration 20",
        "optimizer.beta1=0.8 until iteration 30",
        "training.learning_rate=0.1 until iteration 30",
    ]
    fields = json.loads((run.path / "summary.json").read_text())
    fields = {key: value for key, value in fields.items() if key not in ("checksum", "earlier")}
    (run.path / "summary.json").write_text(seal(fields | {"changed": before}))
    summary = run.summary()
    assert summary.changed == before[:3]
    assert summary.earlier == [
        Segment(until=20, changed=["training.max_iters=40"]),
        Segment(until=30, changed=[
            "optimizer.beta1=0.8", "training.learning_rate=0.1", "training.max_iters=40", "schedule=cosine",
        ]),
    ]  # fmt: skip
    assert changes(summary) == before
    run.write_summary(summary)
    assert run.summary() == summary


def test_a_run_of_a_newer_format_says_so_and_is_passed_over(called: Script, old: Path) -> None:
    newer = old / "runs" / "newer"
    shutil.copytree(old / "runs" / "old", newer)
    first = (newer / "config.yaml").read_text().splitlines()[0]  # "format: 2"; format 1 had no such line
    edited(newer, first, "format: 99\nunheard_of: 1")
    record = json.loads((newer / "summary.json").read_text())
    del record["checksum"]
    (newer / "summary.json").write_text(seal(record | {"format": 99, "unheard_of": 1}))
    refused = called("generate.py", f"run={newer}", cwd=old)
    assert refused.returncode == 1
    assert "was written by a newer version of this project: its format is 99" in refused.stderr
    assert refused.stderr.count("\n") == 1
    newest = called("generate.py", "tokens=5", cwd=old)
    assert newest.returncode == 0
    assert "warning: skipped: runs/newer/summary.json" in newest.stderr
    assert "weights of runs/old" in newest.stderr


def test_an_unfinished_older_run_is_found_by_its_configuration(called: Script, old: Path) -> None:
    (old / "runs" / "old" / "summary.json").unlink()
    config = RunFolder(old / "runs" / "old").config().content()
    settings = same(config, "max_iters", "eval_interval", "eval_iters", "batch_size")
    done = called("train.py", *settings, "data=text", "data.path=corpus.txt", "resume=auto", "device=cpu", cwd=old)
    assert done.returncode == 0, done.stderr
    assert "resuming runs/old from iteration 40" in done.stdout


def test_a_configuration_is_read_as_any_reader_of_yaml_reads_it() -> None:
    content = "a: [1, 0x1f, 017, 1_000, 1e3, 1.0e+3, .inf, ~, yes, no]\nb: {c: 'no', d: 2026-11-23}\n? 1\n: é\n"
    assert formats._plain(yaml.compose(content, formats._Loader)) == yaml.safe_load(content)
    assert formats._plain(yaml.compose("a: true\nb: 1", formats._Loader))["a"] is True
    with pytest.raises(yaml.YAMLError, match="constructor"):
        formats._plain(yaml.compose("a: !!python/name:os.system ''", formats._Loader))
