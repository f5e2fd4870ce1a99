"""The benchmarks measure pair by pair, run end to end, and leave a peer's code as it is but for its constants."""

import json
import os
import re
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

from gpt.cli.composing import composed
from gpt.runs.folder import RunFolder
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.training.optimizers import has_nonfinite
from tests.conftest import REPOSITORY, Script, build, check_config
from tests.playground.browsing import chromium_path

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from ablation import CHANGES, WHOLE
from gpu import Part, Setting, measure, report
from harness import WAITING, Measured, Row, alternate, arguments, output, trained, with_constants
from private_kernels import unpacked, unrecorded, without
from same_losses import Losses

NAMES = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("*.py") if path.stem != "harness")
# A few iterations of each that is not compared with a peer, and what its first rows are of.
QUICK = {
    "corpus_size": ([str(REPOSITORY / "docs" / "course")], ["text", "tiny Shakespeare", "0.1 MB"]),
    "architectures": (["v6", "gru"], ["stage", "v6", "gru"]),
    "where_time_goes": ([], ["part", "Python and configuration", "importing torch"]),
    "where_time_goes.py": (["generation"], ["operator"]),
    "browser": (["v1"], ["work", "v1, 20 iterations in the page"]),
    "same_losses": (["--only", "v1", "--", str(REPOSITORY)], ["training", "v1"]),
    "records": (["04_counts", "08_two_tokens", "--out", "kept"], ["record", "04_counts", "08_two_tokens"]),
    "ablation": (["without_rotary", "without_counts"], ["stage", "v8", "v8", "v9", "v9"]),
    "gpu": (["speedrun_1", "determinism_v9", "v6_compiled", "compiled_v8", "--out", "kept"], ["seed", "1"]),
}


def test_ratios_are_taken_pair_by_pair_and_sides_alternate_after_a_run_that_does_not_count() -> None:
    # The machine gets three times slower meanwhile; each pair still says: twice as fast.
    measured = Measured(ours=[1.0, 2.0, 3.0], theirs=[2.0, 4.0, 6.0])
    assert Row("work", "s", measured, "peer").cells() == [
        "work", "peer", "4.00 s (2.00 to 6.00)", "2.00 s (1.00 to 3.00)", "2.00 (2.00 to 2.00)",
    ]  # fmt: skip
    assert Row("work", "tokens/s", measured, "peer", more_is_better=True).cells()[-1] == "0.50 (0.50 to 0.50)"
    clock = count()
    assert alternate(2, lambda: float(next(clock)), lambda: float(next(clock))) == Measured([2.0, 4.0], [1.0, 3.0])
    assert Row("work", "s", alternate(1, lambda: 1.0)).cells() == ["work", "-", "-", "1.00 s (1.00 to 1.00)", "-"]


def test_a_peers_constants_are_set_and_nothing_else(tmp_path: Path) -> None:
    script, folder = tmp_path / "peer.py", tmp_path / "changed"
    script.write_text("import sys\nmax_iters = 10 # many\nrate = 1e-3\n  max_iters = 3\n")
    folder.mkdir()
    changed = with_constants(script, {"max_iters": 7}, folder)
    assert changed.read_text() == "import sys\nmax_iters = 7\nrate = 1e-3\n  max_iters = 3\n"
    with pytest.raises(SystemExit, match="has no constant n_embd"):
        with_constants(script, {"n_embd": 7}, folder)


def test_a_peer_runs_with_the_users_environment_and_not_with_this_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (*WAITING.items(), ("GOMP_SPINCOUNT", "7"), ("PYTHONPATH", "packages")):  # 7 is the user's own
        monkeypatch.setenv(name, value)
    code = f"import os; print([os.environ.get(name) for name in {[*WAITING, 'PYTHONPATH']}])"
    shown = output([sys.executable, "-c", code], tmp_path, checkout=tmp_path).strip()
    assert shown == str([None, "7", f"{tmp_path}{os.pathsep}packages"])


def test_the_command_line_chooses_and_says_what_it_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--nanogpt", str(tmp_path), "--annotated=/nowhere", "--quick", "b"])
    given = arguments("What it measures.", "nanogpt", "annotated", names=("a", "b"))
    assert (given.nanogpt, given.annotated, given.repeats, given.names) == (tmp_path, None, 1, ["b"])
    skipped = (
        "--annotated /nowhere: a checkout of harvardnlp/annotated-transformer is missing, so its part is skipped\n"
    )
    assert capsys.readouterr().err == skipped
    for line, refused in {"--repeats=0": "must be at least 1", "a c": "c is none of a, b"}.items():
        monkeypatch.setattr(sys, "argv", ["benchmark", *line.split()])
        with pytest.raises(SystemExit):
            arguments("What it measures.", names=("a", "b"))
        assert refused in capsys.readouterr().err


def test_without_a_fast_path_its_fallback_is_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    name, calls = "_amp_foreach_non_finite_check_and_unscale_", []
    monkeypatch.setattr(torch, name, lambda *arguments: calls.append(arguments))
    monkeypatch.setattr("gpt.tasks.decoding.packing._is_intel", lambda: False)
    with without("gpt.training.optimizers", name), unpacked():
        assert has_nonfinite([torch.tensor([1.0, float("nan")])]) == 1
        model = packed(build("v7", n_layer=1), torch.float32)
    assert calls == []
    assert any(isinstance(module, torch.nn.Linear) for module in model.modules())
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    with unrecorded():
        assert len(list(generate(model, torch.tensor([0]), tokens=201, seed=1))) == len(passes) == 201


def test_losses_are_equal_only_if_every_bit_is_and_each_is_there() -> None:
    here = Losses({"val at iteration 0": 0.1 + 0.2, "exact": 1.0})
    assert here.first_difference(Losses({"val at iteration 0": 0.1 + 0.2, "exact": 1.0})) == ""
    assert here.first_difference(Losses({**here.values, "exact": 1.0 + 2**-52})).startswith("exact: 1.0 here, 1.00")
    fewer = Losses({"val at iteration 0": 0.1 + 0.2})
    assert here.first_difference(fewer) == "exact: 1.0 here, None there"
    assert fewer.first_difference(here) == "exact: None here, 1.0 there"


def test_a_part_that_fails_is_measured_again_by_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def fails(_: Setting) -> list[list[str]]:
        if not (tmp_path / "mended").exists():
            raise SystemExit("on this machine")
        return [["fails", "no more"]]

    parts = {"fails": Part("checks", fails), "works": Part("checks", lambda _: [["works", "yes"]])}
    setting = Setting(tmp_path, None, repeats=1, quick=True)
    measure(parts, setting)
    assert capsys.readouterr().err.splitlines() == ["fails", "fails failed: on this machine", "works"]
    assert report(parts, tmp_path).endswith("| works   | yes      |\n\nnot done: fails\n")
    (tmp_path / "mended").touch()
    measure(parts, setting)
    assert capsys.readouterr().err.splitlines() == ["fails"]


def test_the_settings_of_the_leaderboard_lead_from_record_to_record() -> None:
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
            config, _ = composed("train", [f"experiment=records/{base}", *settings])
            assert config == composed("train", [f"experiment=records/{name}"])[0]
            reached.append(name)
    assert reached == ["12_shuffled", "13_hybrid", "08_two_tokens"]


@pytest.mark.parametrize("stage", CHANGES)
def test_a_stage_with_one_thing_changed_is_a_valid_configuration(stage: str) -> None:
    whole, _ = composed("train", [WHOLE[stage]])
    for changes in CHANGES[stage].values():
        changed, _ = composed("train", [WHOLE[stage], *changes])
        assert changed != whole
        check_config(changed | {"stage": stage})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_says_what_it_measures_and_refuses_what_it_does_not_know(
    name: str, called: Script, tmp_path: Path
) -> None:
    done = called(f"benchmarks/{name}.py", "--help", cwd=tmp_path)
    assert f"python benchmarks/{name}.py" in done.stdout
    assert "only to check that it works" in " ".join(done.stdout.split())
    assert called(f"benchmarks/{name}.py", "--nonsense", cwd=tmp_path).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_runs(name: str, script: Script, tmp_path: Path) -> None:
    given, first = QUICK[name]
    if name == "browser":
        pytest.importorskip("playwright.sync_api")
        chromium_path()
    for _ in range(2 if "--out" in given else 1):  # what is kept is not measured again
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("kept/*_*/*")}
        done = script(f"benchmarks/{name.removesuffix('.py')}.py", "--quick", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
        assert [row[0].strip() for row in rows][: len(first)] == first
        assert "failed:" not in done.stderr
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.slow
def test_this_project_is_measured_beside_each_peer(script: Script, tmp_path: Path) -> None:
    """Without their checkouts, what needs none."""
    reverse = ["experiment=reverse", "schedule.warmup_iters=0", "data.size=500", "training.max_iters=2"]
    run = trained(tmp_path / "run", *reverse, "training.eval_interval=2", "device=cpu")
    done = script("benchmarks/all.py", "--quick", "--run", str(run.path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    works = " ".join(row[0] for row in rows)
    assert all(stage in works for stage in ("v1", "v6", "eight seeds", "v7 training", "beam 5", "two processes"))
    compared = {row[1] for row in rows if row[2] != "-"}
    assert {
        "import torch and the corpus",
        "one after the other",
        "nn.Transformer, plain loop",
        "one process",
    } <= compared
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.slow
def test_a_checkout_with_other_losses_is_told_and_ends_with_1(script: Script, tmp_path: Path) -> None:
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
