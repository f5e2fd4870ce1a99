"""Run folders of every past format are read, resumed and compared; one of a newer format is passed over."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gpt.files import seal
from gpt.runs import formats
from gpt.runs.folder import RunFolder
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


def test_an_older_run_is_sampled_evaluated_and_compared(script: Script, old: Path) -> None:
    text = script("generate.py", "tokens=20", cwd=old)
    assert text.returncode == 0, text.stderr
    assert len(text.stdout) == 21
    exact = script("evaluate.py", "data.path=corpus.txt", "weights=last", "json=true", cwd=old)
    assert exact.returncode == 0, exact.stderr
    summary = RunFolder(old / "runs" / "old").summary()
    assert json.loads(exact.stdout)["nats_per_character"] == pytest.approx(summary.exact.val, abs=1e-6)
    compared = script("compare.py", cwd=old)
    assert compared.returncode == 0, compared.stderr
    assert "skipped" not in compared.stderr


def test_an_older_run_is_extended_as_one_of_today(script: Script, old: Path) -> None:
    """To the bit as the run of the present format, and up to rounding as a run from the beginning: the golden runs
    come from another processor, whose matrix products may differ in the last bit.
    """
    before = RunFolder(old / "runs" / "old").metrics()
    more = ["training.max_iters=60", "data=text", "data.path=corpus.txt"]
    shutil.copytree(GOLDEN / str(formats.FORMAT), old / "runs" / "present")
    for name in ("old", "present"):
        done = script("train.py", f"resume=runs/{name}", *more, cwd=old)
        assert done.returncode == 0, done.stderr
    run, present = RunFolder(old / "runs" / "old"), RunFolder(old / "runs" / "present")
    assert run.weights("last").read_bytes() == present.weights("last").read_bytes()
    assert run.metrics()[:3] == before
    assert [line.iteration for line in run.metrics()] == [0, 20, 40, 60]
    config = run.config().content()
    same = ["model=v5", *(f"model.{key}={config['model'][key]}" for key in ("n_embd", "n_head", "n_layer"))]
    same += [f"training.{key}={config['training'][key]}" for key in ("eval_interval", "eval_iters", "batch_size")]
    again = script("train.py", *same, *more, "dtype=float32", "device=cpu", "hydra.run.dir=whole", cwd=old)
    assert again.returncode == 0, again.stderr
    extended, whole = (load_file(folder.weights("last")) for folder in (run, RunFolder(old / "whole")))
    torch.testing.assert_close(extended, whole, rtol=0, atol=1e-6)


def test_a_run_of_a_newer_format_says_so_and_is_passed_over(script: Script, old: Path) -> None:
    newer = old / "runs" / "newer"
    shutil.copytree(old / "runs" / "old", newer)
    first = (newer / "config.yaml").read_text().splitlines()[0]  # "format: 2"; format 1 had no such line
    edited(newer, first, "format: 99\nunheard_of: 1")
    record = json.loads((newer / "summary.json").read_text())
    del record["checksum"]
    (newer / "summary.json").write_text(seal(record | {"format": 99, "unheard_of": 1}))
    refused = script("generate.py", f"run={newer}", cwd=old)
    assert refused.returncode == 1
    assert "was written by a newer version of this project: its format is 99" in refused.stderr
    assert refused.stderr.count("\n") == 1
    newest = script("generate.py", "tokens=5", cwd=old)
    assert newest.returncode == 0
    assert "warning: skipped: runs/newer/summary.json" in newest.stderr
    assert "weights of runs/old" in newest.stderr


def test_an_unfinished_older_run_is_found_by_its_configuration(script: Script, old: Path) -> None:
    (old / "runs" / "old" / "summary.json").unlink()
    config = RunFolder(old / "runs" / "old").config().content()
    same = ["model=v5", *(f"model.{key}={config['model'][key]}" for key in ("n_embd", "n_head", "n_layer"))]
    same += [f"training.{key}={config['training'][key]}"
             for key in ("max_iters", "eval_interval", "eval_iters", "batch_size")]  # fmt: skip
    done = script("train.py", *same, "data=text", "data.path=corpus.txt", "resume=auto", "device=cpu", cwd=old)
    assert done.returncode == 0, done.stderr
    assert "resuming runs/old from iteration 40" in done.stdout
