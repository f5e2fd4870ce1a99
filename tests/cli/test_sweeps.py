"""Sweeps: what a terminal shows of them, and the commands of docs/lab/sweeps.md, each in a short form."""

import json
import re
import shutil
from pathlib import Path

import pytest

from gpt.config.composing import own_hydra
from gpt.config.sweeping import parsed
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from tests.conftest import REPOSITORY, Script, refused, shell_commands, succeeded
from tests.faults.trials import tree

pytestmark = pytest.mark.slow

COMMANDS = shell_commands("lab/sweeps.md")
SHOWN = re.findall(r"experiment=(\w+)", " ".join(COMMANDS))
SHORT = ["training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1"]

TINY = """# @package _global_
adds: nothing
defaults: [override /data: text]
data: {path: corpus.txt}
model: {_target_: gpt.models.v3_attention_heads.GPT, block_size: 4, n_embd: 8, n_head: 2}
training: {max_iters: 2, eval_iters: 1}
documented: {train: null, val: 1.5, kind: estimated}
"""
HEADS = """# @package _global_
hydra: {mode: MULTIRUN, sweeper: {params: {model: "tiny,v2", model.n_head: "1,2", seed: "1,2,3"}}}
"""


@pytest.fixture
def folder(folder: Path) -> Path:
    """A working folder with a corpus, and with a stage and a sweep of the user's own."""
    for name, content in (("model/tiny", TINY), ("experiment/two_heads", HEADS)):
        path = folder / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return folder


def test_a_typed_value_replaces_those_of_the_experiment(called: Script, folder: Path) -> None:
    typed = ["--config-dir=mine", "experiment=two_heads", "model=tiny", "seed=1", "hydra.sweep.dir=sweep"]
    done = succeeded(called("train.py", *typed, cwd=folder))
    assert re.findall(r"job .*", done.stdout + done.stderr) == ["job 1 of 2: n_head=1", "job 2 of 2: n_head=2"]
    # The command of a job repeats where its configuration is, so that it can be pasted.
    assert f"--config-dir={folder / 'mine'}" in next(folder.glob("sweep/000*/run.json")).read_text()


def test_a_sweep_counts_its_jobs_and_ends_with_its_tables(called: Script, folder: Path) -> None:
    swept = ["-m", "model=glob(tin*)", "model.n_head=1,2", "seed=1,2", "name=wide"]
    done = succeeded(called("train.py", "--config-dir=mine", *swept, cwd=folder))
    assert "job 4 of 4: model=tiny n_head=2 seed=2" in done.stdout + done.stderr
    documented, ranking = re.findall(r"^tiny .*|^\d .*", done.stdout, re.MULTILINE)[0], done.stdout
    assert re.match(r"tiny +val +1\.5000 +\S+ ± \S+ +2 .* differs by more than 0\.03", documented)
    assert re.search(r"^n_head +seeds +exact val", ranking, re.MULTILINE)
    (sweep,) = folder.glob("runs/*/*_wide")
    assert sorted(run.folder.config().name or "" for run in finished_runs(sweep)) == [f"wide_{n}" for n in range(1, 5)]
    assert f"{sweep.relative_to(folder)}/" in succeeded(called("gpt/__main__.py", "runs", "wide", cwd=folder)).stdout


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("training.learning_rate=interval(1e-4,1e-2)", "interval"),
        ("training.learning_rate=tag(log,interval(1e-4,1e-2))", "interval"),
        ("experiment=search_v6 training.learning_rate=1e-3,1e-2 seed=a", "training.learning_rate=0.001"),
        ("experiment=search_v6", "training.learning_rate"),
        ("experiment=heads,lr_range", "experiment=heads"),
        ("experiment=copy,two_heads", "experiment=two_heads"),
        ("experiment=copy,search_v6", "experiment=search_v6"),
        ("experiment=null,two_heads", "experiment=two_heads"),
        ("seed=range(5,1)", "seed"),
        ("seed=range(1,5,0)", "seed=range(1,5,0)"),
        ("training.learning_rate=range(0,inf,0.5)", "training.learning_rate=range(0,inf,0.5)"),
    ],
)
def test_what_cannot_be_swept_over_is_one_line(typed: str, word: str, called: Script, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    refused(called("train.py", "--config-dir=mine", "-m", "model=v1", *typed.split(), cwd=folder), word)
    assert sorted(folder.rglob("*")) == before


def test_no_experiment_and_no_debugging_are_values_of_a_sweep(called: Script, folder: Path) -> None:
    swept = ["-m", "experiment=null,fast", "debug=choice(null,fast)", "model=tiny", *SHORT]
    (folder / "mine" / "experiment" / "fast.yaml").write_text("# @package _global_\nseed: 5\n")
    done = succeeded(called("train.py", "--config-dir=mine", *swept, cwd=folder))
    assert "job 4 of 4: experiment=fast debug=fast" in done.stdout
    assert sorted(run.folder.config().seed for run in finished_runs(folder)) == [5, 5, 1337, 1337]
    tried = [*swept[1:2], *swept[3:], "n_trials=2"]
    done = succeeded(called("search.py", "--config-dir=mine", *tried, cwd=folder))
    assert "trials: 2 complete" in done.stdout


def test_a_range_has_the_numbers_that_it_says() -> None:
    with own_hydra():
        for typed, values in (
            ("range(3)", "0 1 2"),
            ("range(0.1,0.5,0.1)", "0.1 0.2 0.3 0.4"),
            ("range(0.3,0.9,0.3)", "0.3 0.6"),
            ("range(1,0,-0.25)", "1.0 0.75 0.5 0.25"),
            ("range(1e-3,4e-3,1e-3)", "0.001 0.002 0.003"),
            ("float(range(2))", "0.0 1.0"),
        ):
            (override,) = parsed({"key": typed})
            assert " ".join(override.sweep_string_iterator()) == values, typed


def test_a_sweep_over_ranges_writes_one_json_line_per_job(called: Script, folder: Path) -> None:
    params = "{training.learning_rate: 'range(0.1,0.4,0.1)'}"
    (folder / "mine" / "experiment" / "rates.yaml").write_text(
        f"# @package _global_\nhydra: {{mode: MULTIRUN, sweeper: {{params: {params}}}}}\n"
    )
    swept = ["experiment=rates", "seed=range(4,0,-3)", "model=tiny", "json=true"]
    done = succeeded(called("train.py", "--config-dir=mine", *swept, cwd=folder))
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    configs = [RunFolder(folder / run["folder"]).config() for run in runs]
    assert [(config.training.learning_rate, config.seed) for config in configs] == [
        (0.1, 4),
        (0.1, 1),
        (0.2, 4),
        (0.2, 1),
        (0.3, 4),
        (0.3, 1),
    ]


@pytest.mark.parametrize("swept", ["training.max_iters=2,3", "training.max_iters=range(2,4)"])
def test_a_sweep_that_is_resumed_drops_none_of_its_values(
    called: Script, folder: Path, tmp_path: Path, swept: str
) -> None:
    S = "S (1), [a]"
    shutil.copy(folder / "corpus.txt", folder / "a,b.txt")
    succeeded(called("train.py", "-m", "v1", "a,b.txt", *SHORT, swept, f"hydra.sweep.dir='{S}'", cwd=folder))
    before = tree(folder / S)
    done = called("train.py", f"resume={S}", "training.max_iters=4", cwd=folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "training.max_iters=4" in done.stderr
    assert tree(folder / S) == before
    succeeded(called("train.py", f"resume={S}", "training.max_iters=4,2,3", cwd=folder))
    assert len(list((folder / S).glob("*/summary.json"))) == 3


def test_more_iterations_extend_every_run_of_a_resumed_sweep(called: Script, folder: Path) -> None:
    shutil.copy(folder / "corpus.txt", folder / "other.txt")
    sweep = ["-m", "v1", "data=[corpus.txt,other.txt]", *SHORT, "seed=1,2,3", "hydra.sweep.dir=runs/S"]
    succeeded(called("train.py", *sweep, cwd=folder))
    lost, ended = sorted((folder / "runs" / "S").glob("*_seed[12]"))
    shutil.rmtree(lost)  # as if it had not begun
    before = (ended / "metrics.jsonl").read_text()
    (folder / "other.txt").rename(folder / "moved.txt")
    more = ["data.path=[corpus.txt,moved.txt]", "training.max_iters=4", "device=cpu"]
    succeeded(called("train.py", "resume=S", *more, cwd=folder))
    runs = sorted((folder / "runs" / "S").glob("*/summary.json"))
    assert [path.parent.name for path in runs] == [f"{number:03d}_v1_seed{number + 1}" for number in range(3)]
    assert {RunFolder(path.parent).summary().iterations for path in runs} == {4}
    assert (ended / "metrics.jsonl").read_text().startswith(before.rstrip()[:40])
    (runs[1]).unlink()  # as if it had been interrupted
    said = succeeded(called("train.py", "resume=runs/S", cwd=folder)).stdout
    assert (said.count(" is finished; "), len(list((folder / "runs" / "S").glob("*/summary.json")))) == (2, 3)
    done = called("train.py", "resume=S", "model.block_size=4", cwd=folder)
    refused(done, "model.block_size=4")


def test_every_sweep_of_the_project_is_on_the_page() -> None:
    folder = REPOSITORY / "conf" / "experiment"
    experiments = {str(path.relative_to(folder).with_suffix("")): path.read_text() for path in folder.rglob("*.yaml")}
    sweeps = {name for name, text in experiments.items() if "mode: MULTIRUN" in text}
    sweeps |= {name for name, text in experiments.items() if any(f"- /experiment/{base}\n" in text for base in sweeps)}
    assert {"ladder", "architectures/8"} <= sweeps  # the second sweeps because its base does
    others = "".join((REPOSITORY / "docs" / page).read_text() for page in ("translation.md", "lab/architectures.md"))
    assert sweeps <= {*SHOWN, *re.findall(r"experiment=([\w/]+)", others)}
