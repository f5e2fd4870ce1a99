"""The pages of docs/extending, done as written: its files are added to a copy of the repository, and its commands run.

Its changes of files, which it shows as diffs, are made there too.
"""

import json
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import REPOSITORY
from tests.forked import Forked

pytestmark = pytest.mark.slow  # the page's commands take a minute

_FOLDER = REPOSITORY / "docs" / "extending"
_PAGES = re.findall(r"^\| \[[^]]+\]\((\w+\.md)\)", (_FOLDER / "index.md").read_text(), re.MULTILINE)
PAGE = "\n".join((_FOLDER / page).read_text() for page in _PAGES)
FILES = dict(re.findall(r"^`([\w/.]+)`\n\n```(?:python|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
DIFFS = dict(re.findall(r"^`([\w/.]+)`\n\n```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in block.splitlines()]

Run = Callable[..., list[subprocess.CompletedProcess]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A copy of the repository with the page's files added, and how to run commands in it: in one process, in turn."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(REPOSITORY / "tests" / "called.py", folder)
    for name in ("gpt", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for path in REPOSITORY.glob("*.py"):
        shutil.copy(path, folder)
    (folder / "data").symlink_to(REPOSITORY / "data")
    for name, content in FILES.items():
        assert not (folder / name).exists(), f"{name} exists already: adding must not change it"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for name, diff in DIFFS.items():
        before, after = (
            "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in kept) for kept in (" -", " +")
        )
        content = (folder / name).read_text()
        assert content.count(before) == 1, f"{name} is not as the diff expects"
        (folder / name).write_text(content.replace(before, after))

    def run(*commands: str) -> list[subprocess.CompletedProcess]:
        lines = []
        for command in commands:
            python, script, *arguments = shlex.split(command)
            assert python == "python"
            lines.append([str(folder / script), *arguments])
        process = Forked([str(folder / "called.py")], folder, standard_input=json.dumps(lines).encode()).finished()
        assert process.returncode == 0, process.stderr
        results = [json.loads(line) for line in process.stdout.splitlines()]
        return [subprocess.CompletedProcess(line, *result) for line, result in zip(lines, results, strict=True)]

    for command, done in zip(COMMANDS, run(*COMMANDS), strict=True):
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return folder, run


def runs(folder: Path) -> list[dict]:
    """The summaries of all runs with their folders, the oldest first."""
    found = [json.loads(path.read_text()) | {"path": path.parent} for path in folder.rglob("summary.json")]
    return sorted(found, key=lambda summary: (summary["finished"], str(summary["path"])))


def test_the_page_adds_one_of_everything() -> None:
    groups = {Path(name).parent.name for name in FILES if name.endswith(".yaml")}
    assert groups == {"model", "optimizer", "schedule", "data", "metrics", "logger", "experiment", "conf"}
    assert len(COMMANDS) >= 10


def test_every_added_thing_was_trained(copy: tuple[Path, Run]) -> None:
    folder, _ = copy
    stages = {summary["stage"] for summary in runs(folder)}
    assert {"window_mean", "v5", "wide"} <= stages
    changed = {change for summary in runs(folder) for change in summary["changed"]}
    assert {"optimizer=Lion", "schedule=staircase", "data=squares", "model.reach=3"} <= changed
    assert "data.tokenizer=syllables" in changed
    steps = [path.read_text().splitlines() for path in folder.rglob("steps.txt")]
    first = [[line.split()[0] for line in lines if line[0].isdigit()] for lines in steps]
    assert ["5", "10", "15", "20"] in [words[:4] for words in first]
    assert any(lines[-1].startswith("sample from it: ") for lines in steps)
    tables = [path.read_text() for path in folder.rglob("metrics.csv")]
    assert {table.partition(",learning_rate_all,")[0] for table in tables} == {
        "iteration,train,val", "iteration,train,val,top_k_train,top_k_val",
    }  # fmt: skip
    assert all(summary["tokens"] > 0 for summary in runs(folder))
    lines = [json.loads(line) for path in folder.rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    measured = [line["metrics"] for line in lines if line.get("metrics")]
    assert {tuple(metrics) for metrics in measured} == {("top_k",), ("top_k", "entropy"), ("entropy",)}
    assert all(
        0 <= metrics["top_k"][split] <= 1 for metrics in measured if "top_k" in metrics for split in ("train", "val")
    )


def test_an_added_tracker_has_every_row(copy: tuple[Path, Run]) -> None:
    folder, _ = copy
    (path,) = folder.rglob("tracked.jsonl")
    with FileLock(path.parent / ".json_lines.lock", timeout=60):  # until it has delivered everything
        *rows, results = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 5, 10, 15, 20]
    assert {"loss/val", "entropy/val", "loss/documented_val"} <= rows[-1].keys()
    assert {"loss/exact_val", "report", "sample"} <= results.keys()


def test_an_added_logger_of_gradients_writes_histograms(copy: tuple[Path, Run]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = copy
    (path,) = folder.rglob("tensorboard/gradients")
    events = EventAccumulator(str(path), size_guidance={"histograms": 0}).Reload()
    assert {"gradients/lm_head.weight", "gradients/lm_head.bias"} <= {*events.Tags()["histograms"]}
    histograms = events.Histograms("gradients/lm_head.weight")
    assert [event.step for event in histograms] == [10, 20]
    assert all(event.histogram_value.max > event.histogram_value.min for event in histograms)


def test_each_layer_has_the_learning_rate_that_was_given_to_it(copy: tuple[Path, Run]) -> None:
    folder, _ = copy
    lines = [json.loads(line) for path in folder.rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    rates = [line["learning_rates"] for line in lines if "layer_0" in line["learning_rates"]]
    assert rates
    assert all(each == {f"layer_{n}": pytest.approx(1e-3 * 0.5 ** (4 - n)) for n in range(5)} for each in rates)


def test_resumed_runs_with_added_things_equal_uninterrupted_ones(copy: tuple[Path, Run]) -> None:
    folder, run = copy
    short = "training.max_iters=20 training.eval_interval=10 training.eval_iters=2 device=cpu"
    every = "checkpoint.interval=10 checkpoint.min_seconds=0"
    added = {
        "text": "model=window_mean optimizer=lion schedule=staircase data=squares metrics=top_k",
        "task": "model=v5 data=speeches",
        "tokens": "model=v5 optimizer=layerwise data.tokenizer=syllables",
    }
    wholes = run(
        *(f"python train.py {what} {short} {every} hydra.run.dir=whole/{name}" for name, what in added.items())
    )
    assert [done.returncode for done in wholes] == [0, 0, 0]
    shutil.copytree(folder / "whole", folder / "parts")
    for name in added:  # as if it had died after iteration 10
        (folder / "parts" / name / "summary.json").unlink()
        shutil.rmtree(folder / "parts" / name / "checkpoints" / "00000020")
    for name, done in zip(added, run(*(f"python train.py resume=parts/{name}" for name in added)), strict=True):
        assert "from iteration 10" in done.stdout, done.stderr
        for file in ("metrics.jsonl", "last.safetensors", "sample.txt"):
            assert (folder / "parts" / name / file).read_bytes() == (folder / "whole" / name / file).read_bytes()


def test_added_runs_generate_and_are_compared(copy: tuple[Path, Run]) -> None:
    folder, run = copy
    newest = [found["path"] for found in runs(folder) if found["stage"] == "wide"][-1]
    generated, compared = run(f"python generate.py run={newest} tokens=20", "python compare.py")
    assert generated.returncode == 0, generated.stderr
    assert len(generated.stdout) == 21
    assert "window_mean" in compared.stdout
    assert "wide" in compared.stdout


def test_an_added_task_is_found_by_its_corpus_and_takes_at_most_five_files(copy: tuple[Path, Run]) -> None:
    assert len([name for name in FILES if Path(name).stem in ("speeches", "speakers")]) <= 5
    folder, run = copy
    newest = next(found["path"] for found in reversed(runs(folder)) if "data=speeches" in found["changed"])
    evaluated, generated, refused, misfit = run(
        f"python evaluate.py run={newest} json=true",
        f"python generate.py run={newest} prompt=Romeo",
        f"python generate.py run={newest} prompt=Romeo tokens=20",
        "python train.py model=transformer data=speeches",
    )
    measures = json.loads(evaluated.stdout)
    assert 0 <= measures["accuracy"]["value"] <= 100
    assert measures["nats_per_speech"] > 0
    assert generated.stdout.strip().isupper()
    assert refused.stderr == (
        "error: tokens is for a run that continues a text, but this one names the speaker of a speech\n"
    )
    assert misfit.stderr == (
        "error: data=speeches does not fit a stage that translates: it needs pairs, such as data=multi30k\n"
    )


def test_an_added_tokenizer_is_one_file_measured_by_character_and_refused_where_it_lacks_a_form(
    copy: tuple[Path, Run],
) -> None:
    assert [name for name in FILES if "syllables" in Path(name).stem] == ["gpt/data/tokenizers/syllables.py"]
    folder, run = copy
    newest = next(found["path"] for found in reversed(runs(folder)) if "data.tokenizer=syllables" in found["changed"])
    evaluated, generated, unknown = run(
        f"python evaluate.py run={newest} json=true",
        f"python generate.py run={newest} prompt='What is' tokens=20 seed=1",
        f"python generate.py run={newest} prompt=é",
    )
    measures = json.loads(evaluated.stdout)
    assert measures["nats_per_character"] < measures["nats_per_syllable"]
    assert generated.stdout.startswith("What is")
    assert unknown.stderr == "error: the character 'é' (U+00E9) is not in the vocabulary\n"


def test_an_added_script_takes_at_most_four_files(copy: tuple[Path, Run]) -> None:
    assert len([name for name in (*FILES, *DIFFS) if Path(name).stem in ("count", "commands")]) <= 4
    counted, shown, refused = copy[1]("python count.py v5", "python count.py --help", "python count.py v5 depth=0")
    assert "    41,921 " not in counted.stdout  # parts, not their sum
    assert sum(int(line.split()[0].replace(",", "")) for line in counted.stdout.splitlines()) == 41_921
    assert "depth=1 " in shown.stdout
    assert refused.stderr == "error: depth=0: must be at least 1\n"


def test_what_is_added_keeps_the_rules_of_imports(copy: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = copy
    shutil.copy(folder / "train.py", folder / "tune.py")
    monkeypatch.setattr("tests.conftest.REPOSITORY", folder)
    rules = runpy.run_path(str(REPOSITORY / "tests" / "test_imports.py"))
    assert {"train", "count", "tune"} <= rules["SCRIPTS"]
    checked = [rule for name, rule in rules.items() if name.startswith("test_") and not signature(rule).parameters]
    assert len(checked) > 5
    for rule in checked:
        rule()


def test_a_copy_of_a_stages_yaml_is_a_stage_of_its_own(copy: tuple[Path, Run]) -> None:
    folder, run = copy
    (folder / "mine" / "model" / "v5_again.yaml").write_text((folder / "conf" / "model" / "v5.yaml").read_text())
    short = "training.max_iters=2 training.eval_iters=1 device=cpu"
    (done,) = run(f"python train.py --config-dir=mine model=v5_again {short}")
    assert done.returncode == 0, done.stderr
    newest = runs(folder)[-1]
    assert newest["stage"] == "v5_again"
    resume = f"resume={newest['path']} training.max_iters=4"
    refused, done = run(f"python train.py {resume}", f"python train.py --config-dir=mine {resume}")
    assert refused.returncode == 2
    assert (
        refused.stderr == "error: model=v5_again is not in conf/: add the --config-dir that the run was started with\n"
    )
    assert done.returncode == 0, done.stderr


WRONG = {
    "model=window_mean model.reach=0": "model.reach=0: must be at least 1",
    "model=window_mean model.reach=9": "model: reach=9 must be at most block_size=8",
    "model=window_mean ~model.reach": "model.reach is required by gpt.models.window_mean.GPT, which takes",
    "model=v5 model.reach=3": "model=v5 has no key reach; it is a key of model=window_mean",
    "logger=step_log logger.step_log.every=x": "logger.step_log.every=x: must be a whole number",
    "optimizer._target_=gpt.training.lions.Lion": "is not an optimizer of gpt.training: no such module",
    "--config-dir=broken model=tab": 'broken/model/tab.yaml", line 3',
    "--config-dir=broken model=no_package": "the file of this model lacks the line '# @package _global_' at its top",
    "--config-dir=broken logger=no_line": "the file of this logger lacks the line '# @package logger.NAME' at its top",
    "--config-dir=hidden": "hidden/model/v5.yaml has the same name as a file in conf/",
}


def test_what_is_wrong_with_an_added_thing_ends_in_one_line(copy: tuple[Path, Run]) -> None:
    folder, run = copy
    v5 = (folder / "conf" / "model" / "v5.yaml").read_text()
    files = {
        "broken/model/tab.yaml": "# @package _global_\nmodel:\n\tn_embd: 3\n",
        "broken/model/no_package.yaml": v5.replace("# @package _global_\n", ""),
        "broken/logger/no_line.yaml": "_target_: gpt.watching.loggers.Csv\n",
        "hidden/model/v5.yaml": v5,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    before = len(runs(folder))
    said = run(*(f"python train.py {arguments} training.max_iters=2" for arguments in WRONG))
    for message, done in zip(WRONG.values(), said, strict=True):
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
    assert len(runs(folder)) == before
