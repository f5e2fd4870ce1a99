"""The benchmarks measure pair by pair, run end to end, and leave a peer's code as it is but for its constants."""

import argparse
import json
import os
import re
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

from gpt.config.composing import content_of
from gpt.config.reading import read
from gpt.runs.folder import RunFolder
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.training.optimizers import has_nonfinite
from tests.conftest import REPOSITORY, Script, build, succeeded

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from harness import WAITING, Row, compared, output
from private_kernels import unpacked, unrecorded, without
from same_losses import first_difference
from small_stages import with_constants

pytestmark = pytest.mark.slow


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine gets three times slower meanwhile; each pair still says: twice as fast.
    assert Row("work", "s", [1.0, 2.0, 3.0], "peer", [2.0, 4.0, 6.0]).cells() == [
        "work",
        "peer",
        "4.00 s (2.00 to 6.00)",
        "2.00 s (1.00 to 3.00)",
        "2.00 (2.00 to 2.00)",
    ]
    assert Row("work", "tokens/s", [1.0], "peer", [2.0]).cells()[-1] == "0.50 (0.50 to 0.50)"
    assert Row("work", "s", [1.0]).cells() == ["work", "-", "-", "1.00 s (1.00 to 1.00)", "-"]
    clock, given = count(), argparse.Namespace(quick=False, repeats=2)
    row = compared(given, "work", "s", lambda: float(next(clock)), "peer", lambda: float(next(clock)))
    assert (row.ours, row.theirs) == ([2.0, 4.0], [1.0, 3.0])


def test_a_peer_has_its_own_code_but_for_constants(tmp_path: Path) -> None:
    script, folder = tmp_path / "peer.py", tmp_path / "changed"
    script.write_text("import sys\nmax_iters = 10 # many\nrate = 1e-3\n  max_iters = 3\n")
    folder.mkdir()
    changed = with_constants(script, {"max_iters": 7}, folder)
    assert changed.read_text() == "import sys\nmax_iters = 7\nrate = 1e-3\n  max_iters = 3\n"
    with pytest.raises(SystemExit, match="n_embd"):
        with_constants(script, {"n_embd": 7}, folder)


def test_a_peer_has_the_environment_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (*WAITING.items(), ("GOMP_SPINCOUNT", "7"), ("PYTHONPATH", "packages")):  # 7 is the user's own
        monkeypatch.setenv(name, value)
    code = f"import os; print([os.environ.get(name) for name in {[*WAITING, 'PYTHONPATH']}])"
    shown = output([sys.executable, "-c", code], tmp_path, checkout=tmp_path).strip()
    assert shown == str([None, "7", f"{tmp_path}{os.pathsep}packages"])


def test_without_a_fast_path_its_fallback_is_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    name, calls = "_amp_foreach_non_finite_check_and_unscale_", []
    monkeypatch.setattr(torch, name, lambda *arguments: calls.append(arguments))
    monkeypatch.setattr("gpt.tasks.decoding.packing.is_intel", lambda: False)
    with without("gpt.training.optimizers", name), unpacked():
        assert has_nonfinite([torch.tensor([1.0, float("nan")])]) == 1
        model = packed(build("v7", n_layer=1), torch.float32)
    assert calls == []
    assert any(isinstance(module, torch.nn.Linear) for module in model.modules())
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    with unrecorded():
        assert len(list(generate(model, torch.tensor([0]), tokens=201, seed=1))) == len(passes) == 201


def test_losses_are_equal_only_if_complete_and_bitwise_equal() -> None:
    here, fewer = {"val at iteration 0": 0.1 + 0.2, "exact": 1.0}, {"val at iteration 0": 0.1 + 0.2}
    assert first_difference(here, dict(here)) == ""
    assert first_difference(here, here | {"exact": 1.0 + 2**-52}).startswith("exact: 1.0 here, 1.00")
    assert first_difference(here, fewer) == "exact: 1.0 here, None there"
    assert first_difference(fewer, here) == "exact: None here, 1.0 there"


def test_the_settings_of_the_page_lead_from_record_to_record() -> None:
    """The page has the settings of the records without a file; those up to a file's record give its configuration."""
    page = (REPOSITORY / "docs" / "lab" / "records.md").read_text()
    base, settings, reached = "", [], []
    for name, row in re.findall(r"^\| \[?(\d\d_\w+)\]?(.*)$", page, re.MULTILINE):
        changed = re.search(r"`(\S+=[^`]+)`", row)
        if changed is None:
            base, settings = name, []
            continue
        settings += changed[1].split()
        if (REPOSITORY / "conf" / "experiment" / "records" / f"{name}.yaml").exists():
            config = content_of(read("train", [f"experiment=records/{base}", *settings]))
            assert config == content_of(read("train", [f"experiment=records/{name}"]))
            reached.append(name)
    assert reached == ["12_shuffled", "13_hybrid", "14_ngrams", "08_two_tokens"]


def check_benchmark(name: str, given: list[str], first: list[str], script: Script, folder: Path) -> None:
    """Run a benchmark with --quick; its first rows must be of these."""
    for _ in range(2 if "--out" in given else 1):  # what is kept is not measured again
        before = {path: path.stat().st_mtime_ns for path in folder.glob("kept/*_*/*")}
        done = succeeded(script(f"benchmarks/{name}.py", "--quick", *given, cwd=folder))
        rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
        assert [row[0].strip() for row in rows][: len(first)] == first
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_benchmark_runs(script: Script, tmp_path: Path) -> None:
    """tests/release/test_benchmarks.py runs all of them."""
    check_benchmark("architectures", ["gru"], ["stage", "gru"], script, tmp_path)


def test_a_checkout_with_other_losses_ends_with_1(script: Script, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run = RunFolder(tmp_path / "there")
    other.mkdir()
    (other / "train.py").write_text(
        "import pathlib, sys\nrun = pathlib.Path('runs/run')\nrun.mkdir(parents=True)\n"
        f"(run / 'metrics.jsonl').write_text({json.dumps({'iteration': 0, 'train': 4.5, 'val': 4.25})!r})\n"
        f"(run / 'summary.json').write_text({json.dumps({'exact': {'val': 4.125}, 'last_batch': 4.0})!r})\n"
    )
    done = script("benchmarks/same_losses.py", "--quick", "--only", "v1", "--", str(other), cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"train at iteration 0: .* here, 4.5 there", done.stdout)
    assert not run.path.exists()
