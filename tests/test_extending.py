"""docs/extending.md, done as written: its files are added to a copy of the repository, and its commands run."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.forked import Forked

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`\n\n```(?:python|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in block.splitlines()]

Run = Callable[[str], subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def copy(shakespeare: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A copy of the repository with the page's files added, and how to run a command in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("gpt", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("train.py", "generate.py", "evaluate.py", "compare.py"):
        shutil.copy(REPOSITORY / name, folder)
    for name, content in FILES.items():
        assert not (folder / name).exists(), f"{name} exists already: adding must not change it"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    environment = os.environ | {"GPT_DATA_DIR": str(shakespeare)}

    def run(command: str) -> subprocess.CompletedProcess:
        python, *arguments = shlex.split(command)
        assert python == "python"
        return Forked([str(folder / arguments[0]), *arguments[1:]], folder, environment).finished()

    for command in COMMANDS:
        done = run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return folder, run


def runs(folder: Path) -> list[dict]:
    """The summaries of all runs with their folders, the oldest first."""
    found = [json.loads(path.read_text()) | {"path": path.parent} for path in folder.rglob("summary.json")]
    return sorted(found, key=lambda summary: (summary["finished"], str(summary["path"])))


def test_the_page_adds_one_of_everything() -> None:
    groups = {Path(name).parent.name for name in FILES if name.endswith(".yaml")}
    assert groups == {"model", "optimizer", "schedule", "data", "logger", "experiment"}
    assert len(COMMANDS) >= 10


def test_every_added_thing_was_trained(copy: tuple[Path, Run]) -> None:
    folder, _ = copy
    stages = {summary["stage"] for summary in runs(folder)}
    assert {"window_mean", "v5", "wide"} <= stages
    changed = {change for summary in runs(folder) for change in summary["changed"]}
    assert {"optimizer=Lion", "schedule=staircase", "data=squares", "model.reach=3"} <= changed
    steps = [path.read_text().splitlines() for path in folder.rglob("steps.txt")]
    assert ["5", "10", "15", "20"] in [[line.split()[0] for line in lines] for lines in steps]
    assert next(folder.rglob("metrics.csv")).read_text().startswith("iteration,train,val,learning_rate_all,tokens,")


@pytest.mark.parametrize("what", ["model=window_mean", "optimizer=lion", "schedule=staircase", "data=squares"])
def test_a_resumed_run_equals_an_uninterrupted_one(copy: tuple[Path, Run], what: str) -> None:
    folder, run = copy
    whole, parts = (folder / f"{name}_{what.partition('=')[2]}" for name in ("whole", "parts"))
    done = run(
        f"python train.py {what} training.max_iters=20 training.eval_interval=10 training.eval_iters=2 device=cpu "
        f"checkpoint.interval=10 checkpoint.min_seconds=0 hydra.run.dir={whole.name}"
    )
    assert done.returncode == 0, done.stderr
    shutil.copytree(whole, parts)  # as if it had died after iteration 10
    (parts / "summary.json").unlink()
    shutil.rmtree(parts / "checkpoints" / "00000020")
    done = run(f"python train.py resume={parts.name}")
    assert "from iteration 10" in done.stdout, done.stderr
    for file in ("metrics.jsonl", "last.safetensors", "sample.txt"):
        assert (parts / file).read_bytes() == (whole / file).read_bytes()


def test_added_runs_generate_and_are_compared(copy: tuple[Path, Run]) -> None:
    folder, run = copy
    newest = runs(folder)[-1]["path"]
    done = run(f"python generate.py run={newest} tokens=20")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == 21
    table = run("python compare.py").stdout
    assert "window_mean" in table
    assert "wide" in table


def test_a_copy_of_a_stages_yaml_is_a_stage_of_its_own(copy: tuple[Path, Run]) -> None:
    folder, run = copy
    (folder / "mine" / "model" / "v5_again.yaml").write_text((folder / "conf" / "model" / "v5.yaml").read_text())
    short = "training.max_iters=2 training.eval_iters=1 device=cpu"
    assert run(f"python train.py --config-dir=mine model=v5_again {short}").returncode == 0
    newest = runs(folder)[-1]
    assert newest["stage"] == "v5_again"
    resume = f"resume={newest['path']} training.max_iters=4"
    refused = run(f"python train.py {resume}")
    assert refused.returncode == 2
    assert refused.stderr == "error: model=v5_again is not in conf/: add the --config-dir that the run had\n"
    assert run(f"python train.py --config-dir=mine {resume}").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("model=window_mean model.reach=0", "model.reach=0: has to be at least 1"),
        ("model=window_mean model.reach=9", "model: reach=9 must be at most block_size=8"),
        ("model=window_mean ~model.reach", "model.reach is required by gpt.models.window_mean.GPT, which takes"),
        ("model=v5 model.reach=3", "model=v5 has no key reach; it is a key of model=window_mean"),
        ("optimizer=lion optimizer.beta1=1", "optimizer.beta1=1: has to be below 1"),
        ("data=squares data.count=-1", "data.count=-1: has to be at least 1"),
        ("logger=step_log logger.step_log.every=x", "logger.step_log.every=x: has to be a whole number"),
        ("data._target_=gpt.data.download.tiny_shakespeare", "a loader of a corpus is a function annotated to return"),
        ("optimizer._target_=gpt.training.lions.Lion", "is not an optimizer of gpt.training: there is no such module"),
        ("--config-dir=broken model=tab", "broken/model/tab.yaml, line 3: found character"),
        (
            "--config-dir=broken model=no_package",
            "the file of this model lacks the line '# @package _global_' at its top",
        ),
        (
            "--config-dir=broken logger=no_line",
            "the file of this logger lacks the line '# @package logger.NAME' at its top",
        ),
        ("--config-dir=broken experiment=no_head", "the file of this experiment lacks the line '# @package _global_'"),
        ("--config-dir=hidden", "hidden/model/v5.yaml has the name of a file in conf/"),
    ],
)
def test_what_is_wrong_with_an_added_thing_ends_in_one_line(
    copy: tuple[Path, Run], arguments: str, message: str
) -> None:
    folder, run = copy
    before = len(runs(folder))
    v5 = (folder / "conf" / "model" / "v5.yaml").read_text()
    wrong = {
        "broken/model/tab.yaml": "# @package _global_\nmodel:\n\tn_embd: 3\n",
        "broken/model/no_package.yaml": v5.replace("# @package _global_\n", ""),
        "broken/logger/no_line.yaml": "_target_: gpt.training.loggers.Csv\n",
        "broken/experiment/no_head.yaml": "defaults:\n  - override /model: v5\n",
        "hidden/model/v5.yaml": v5,
    }
    for name, content in wrong.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    done = run(f"python train.py {arguments} training.max_iters=2")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(runs(folder)) == before
