"""Every benchmark runs end to end, with few iterations."""

import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Script, succeeded
from tests.playground.browsing import chromium_path
from tests.test_benchmarks import check_benchmark

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from harness import trained

# A few iterations of each that all.py does not run, and what its first rows are of.
QUICK = {
    "corpus_size": ([str(REPOSITORY / "docs" / "course")], ["text", "tiny Shakespeare", "0.1 MB"]),
    "architectures": (["gru"], ["stage", "gru"]),
    "where_time_goes": ([], ["part", "Python and configuration", "importing torch"]),
    "where_time_goes (generation)": (["generation"], ["operator"]),
    "browser": (["v1"], ["work", "v1, 20 iterations in the page"]),
    "same_losses": (["--only", "v1", "--", str(REPOSITORY)], ["training", "v1"]),
    "records": (["04_counts", "08_two_tokens", "--out", "kept"], ["record", "04_counts", "08_two_tokens"]),
    "private_kernels": (["--whole", "fused", "scan"], ["work", "fused: model=v6 training.max_iters=1500"]),
    "gpu": (["determinism_v9", "compiled_v6"], ["check", "v9, deterministic=true, the same seed twice"]),
}


@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_runs(name: str, script: Script, tmp_path: Path) -> None:
    if name == "browser":
        chromium_path()
    check_benchmark(name.partition(" ")[0], *QUICK[name], script, tmp_path)


def test_this_project_is_measured_beside_each_peer(script: Script, tmp_path: Path) -> None:
    """Without their checkouts, what needs none."""
    reverse = ["experiment=reverse", "schedule.warmup_iters=0", "data.size=500", "training.max_iters=2"]
    run = trained(tmp_path / "run", *reverse, "training.eval_interval=2", "device=cpu")
    done = succeeded(script("benchmarks/all.py", "--quick", "--run", str(run.path), cwd=tmp_path))
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    works = " ".join(row[0] for row in rows)
    assert all(work in works for work in ("v1", "eight seeds", "v7 training", "beam 5", "two processes", "packed"))
    peers = {row[1] for row in rows if row[2] != "-"}
    assert peers >= {"import torch and the corpus", "nn.Transformer, plain loop", "one process", "autograd"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
