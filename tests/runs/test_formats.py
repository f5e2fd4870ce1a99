"""Run folders of every release are read, used and resumed; those of other versions are refused in one line.

`formats/VERSION` is a run that this release finished. To add that of a release, on the day of it:

    cd tests/runs/formats
    SMALL="model=v5 model.n_embd=4 model.n_head=2 model.n_layer=1 data=text data.path=corpus.txt device=cpu
           training.batch_size=4 training.eval_iters=2 training.eval_interval=20"
    python ../../../train.py $SMALL training.max_iters=20 hydra.run.dir=parent
    python ../../../train.py init=parent training.max_iters=40 training.ema=0.9 training.log_interval=10 \
        training.sample_interval=1 checkpoint.snapshots=2 metrics=entropy logger=csv name=golden tags=[a,b] device=cpu \
        hydra.run.dir=VERSION
    rm -r parent VERSION/loss.png VERSION/.lock

and add to RELEASES what it generates, and its losses once it is resumed to 60 iterations. A folder is never changed
afterwards. If a test below fails for an earlier one, gpt/runs/formats.py lacks a conversion.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import FILES, RunFolder
from gpt.runs.weights import iteration_of, leading_to, load_model
from tests.conftest import Script, succeeded

GOLDEN = Path(__file__).parent / "formats"
RELEASES = {  # a text of 20 characters; estimated training and validation loss and exact loss after 60 iterations
    "1.0.0": ("gage\nhsiewsiemuwm\n ", (2.7178, 2.7779, 2.8442))
}


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A release; its run is in `tmp_path`/runs/old."""
    shutil.copy(GOLDEN / "corpus.txt", tmp_path)
    shutil.copytree(GOLDEN / request.param, tmp_path / "runs" / "old")
    return request.param


@pytest.fixture
def old(release: str, tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "old")


def test_there_is_a_complete_run_of_each_release() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {"corpus.txt", *RELEASES}
    newest = {path.name for path in (GOLDEN / list(RELEASES)[-1]).iterdir()}
    of_some = {"loss.png", "tensorboard", "operators.txt", "trace.json.gz"}
    assert newest == {file.name for file in FILES} - of_some


def test_everything_of_an_earlier_run_is_read(old: RunFolder) -> None:
    config, summary, record = old.config(), old.summary(), old.record()
    parent = record.parent
    assert (config.name, config.tags, config.training.ema) == ("golden", ["a", "b"], 0.9)
    assert (summary.stage, summary.iterations, summary.exact.weights, summary.parent) == ("v5", 40, "averaged", parent)
    assert parent is not None
    assert (parent.run, parent.iterations) == ("parent", 20)
    assert summary.commands == record.commands
    assert [command.iteration for command in record.commands] == [0]
    assert [row.iteration for row in old.evaluations()] == [0, 20, 40]
    assert [sorted(row.metrics) for row in old.evaluations()] == [["entropy"]] * 3
    assert [row.iteration for row in old.steps()] == [10, 20, 30, 40]
    assert list(old.clock()) == [0, 10, 20, 30, 40]
    assert old.tokenizer.decode(old.tokenizer.encode("a cat sat")) == "a cat sat"
    assert [iteration_of(old, which) for which in ("best", "last", "averaged")] == [20, 40, 40]
    assert list(leading_to(old, "last")) == [0, 4, 40]
    for which in ("best", "last", "averaged", *old.snapshots()):
        assert load_model(old, which)(torch.zeros(1, 8, dtype=torch.int64)).shape == (1, 8, 17)
    checkpoints = Checkpoints(old, 2)
    assert old.checkpoints() == [0, 40]
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.state.evaluations == old.evaluations()


def test_an_earlier_run_generates_is_measured_compared_and_resumed(
    called: Script, release: str, old: RunFolder, tmp_path: Path
) -> None:
    text, losses = RELEASES[release]
    generated = called("generate.py", "tokens=20", "device=cpu", cwd=tmp_path)
    assert generated.stdout.strip("\n") == text, generated.stderr
    exact = succeeded(called("evaluate.py", "data.path=corpus.txt", "json=true", "device=cpu", cwd=tmp_path))
    assert json.loads(exact.stdout)["nats_per_character"] == pytest.approx(old.summary().exact.nats, abs=1e-6)
    compared = called("compare.py", cwd=tmp_path)
    assert compared.stdout.startswith("1 run on corpus.txt")
    assert "skipped" not in compared.stderr
    before = old.evaluations()
    more = ["training.max_iters=60", "data=text", "data.path=corpus.txt"]
    resumed = called("train.py", "resume=runs/old", *more, cwd=tmp_path)
    assert "resuming runs/old from iteration 40" in resumed.stdout, resumed.stderr
    *same, last = old.evaluations()
    assert same == before
    # Processors round differently.
    assert (last.train, last.val, old.summary().exact.nats) == pytest.approx(losses, abs=2e-3)


def with_format(run: RunFolder, version: int | None) -> None:
    """Make the run one of another format, which has an unknown key."""
    for path in (run.path / "config.yaml", run.path / "summary.json"):
        content = path.read_text().replace("stage", "unheard_of")
        first = {"config.yaml": "format: 2\n", "summary.json": '"format": 2,'}[path.name]
        assert first in content
        path.write_text(content.replace(first, "" if version is None else first.replace("2", str(version))))


@pytest.mark.parametrize(("version", "said"), [(1, "format 1"), (9, "format 9"), (None, "no format")])
def test_a_run_of_another_version_is_skipped_or_refused(
    called: Script, old: RunFolder, tmp_path: Path, version: int | None, said: str
) -> None:
    other = RunFolder(Path(shutil.copytree(old.path, tmp_path / "runs" / "other")))
    with_format(other, version)
    for command in ("generate.py run=runs/other", "train.py resume=runs/other", "train.py init=runs/other"):
        refused = called(*command.split(), cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert refused.stderr.startswith("error: runs/other/config.yaml ")
        assert said in refused.stderr
    newest = succeeded(called("generate.py", "tokens=5", cwd=tmp_path))
    assert re.search(rf"runs/other/summary\.json .*{said}", newest.stderr)
    assert "weights of runs/old" in newest.stderr
