"""The pages of docs/extending, done as written: each page's files are added to a copy of the repository of its own.

Its changes of files, which it shows as diffs, are made there, and its commands run: a page needs no other.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.extras import require_extra

require_extra("all")

from filelock import FileLock

from tests import results
from tests.conftest import REPOSITORY, refused, shell_commands, succeeded
from tests.forked import Forked
from tests.playground.browsing import chromium
from tests.playground.conftest import serving_files

pytestmark = pytest.mark.slow  # the pages' commands take a minute

FOLDER = REPOSITORY / "docs" / "extending"
PAGES = re.findall(r"^\| \[[^]]+\]\((\w+)\.md\)", (FOLDER / "index.md").read_text(), re.MULTILINE)


class Page(NamedTuple):
    """What a page shows."""

    files: dict[str, str]
    diffs: list[tuple[str, str]]
    commands: list[str]

    @classmethod
    def read(cls, name: str) -> "Page":
        text = (FOLDER / f"{name}.md").read_text()
        named = re.findall(r"^`([\w/.]+)`\n\n```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        return cls(
            {file: content for file, kind, content in named if kind != "diff"},
            [(file, content) for file, kind, content in named if kind == "diff"],
            shell_commands(f"extending/{name}.md"),
        )


class Copy(NamedTuple):
    """A copy of the repository."""

    folder: Path

    def run(self, *commands: str) -> list[subprocess.CompletedProcess]:
        """Run commands in one process, in turn."""
        lines = []
        for command in commands:
            python, script, *arguments = shlex.split(command)
            assert python == "python"
            lines.append([str(self.folder / script), *arguments])
        called = Forked([str(self.folder / "called.py")], self.folder, standard_input=json.dumps(lines).encode())
        process = succeeded(called.finished())
        results = [json.loads(line) for line in process.stdout.splitlines()]
        return [subprocess.CompletedProcess(line, *result) for line, result in zip(lines, results, strict=True)]

    def runs(self) -> list[dict]:
        """The summaries of all runs with their folders, the oldest first."""
        found = [json.loads(path.read_text()) | {"path": path.parent} for path in self.folder.rglob("summary.json")]
        return sorted(found, key=lambda summary: (summary["finished"], str(summary["path"])))

    def newest(self, change: str) -> Path:
        return next(found["path"] for found in reversed(self.runs()) if change in found["changed"])

    def evaluations(self) -> list[dict]:
        lines = [line for path in self.folder.rglob("metrics.jsonl") for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]


def added(folder: Path, pages: list[Page]) -> Copy:
    """A copy of the repository with what these pages add."""
    shutil.copy(REPOSITORY / "tests" / "called.py", folder)
    for name in ("gpt", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in REPOSITORY.glob("*.py"):
        shutil.copy(path, folder)
    (folder / "data").symlink_to(REPOSITORY / "data")
    for page in pages:
        for name, content in page.files.items():
            assert not (folder / name).exists(), f"{name} exists already: adding must not change it"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        for name, diff in page.diffs:
            before, after = (
                "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in kept) for kept in (" -", " +")
            )
            content = (folder / name).read_text()
            assert content.count(before) == 1, f"{name} is not as the diff expects"
            (folder / name).write_text(content.replace(before, after))
    return Copy(folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Copy]:
    """The copy in which a page was done as written."""

    @cache
    def do(name: str) -> Copy:
        page = Page.read(name)
        copy = added(tmp_path_factory.mktemp(name), [page])
        for command, ended in zip(page.commands, copy.run(*page.commands), strict=True):
            assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return copy

    return do


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy with what all pages add, in which nothing has run."""
    return added(tmp_path_factory.mktemp("whole"), [Page.read(name) for name in PAGES])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says_on_its_own(name: str, done: Callable[[str], Copy]) -> None:
    assert done(name).runs()


def test_together_the_pages_add_one_of_everything() -> None:
    assert {*PAGES, "index"} == {page.stem for page in FOLDER.glob("*.md")}
    groups = {Path(file).parent.name for name in PAGES for file in Page.read(name).files if file.endswith(".yaml")}
    assert groups == {"model", "optimizer", "schedule", "data", "metrics", "logger", "experiment"}


def test_what_is_added_is_what_runs_record(done: Callable[[str], Copy]) -> None:
    chosen = {
        "stage": "model.reach=3",
        "optimizer": "optimizer=Lion",
        "schedule": "schedule=staircase",
        "corpus": "data=squares",
        "key": "data.skipped=1000",
        "tokenizer": "data.tokenizer=syllables",
    }
    for name, change in chosen.items():
        assert done(name).newest(change)
    assert {run["stage"] for run in done("outside").runs()} == {"wide"}
    assert all(run["tokens"] > 0 for run in done("summary").runs())


def test_an_added_metric_is_recorded_and_tabled(done: Callable[[str], Copy]) -> None:
    copy = done("metric")
    measured = [line for line in copy.evaluations() if "top_k_val" in line]
    assert {"entropy_val" in line for line in measured} == {True, False}
    assert all(0 <= line[f"top_k_{split}"] <= 1 for line in measured for split in ("train", "val"))
    (table,) = copy.folder.rglob("metrics.csv")
    assert table.read_text().startswith("iteration,train,val,tokens,learning_rate,top_k_train,top_k_val,")


def test_an_added_sampling_option_reaches_generate_py_and_the_page(done: Callable[[str], Copy]) -> None:
    copy, page = done("sampling"), Page.read("sampling")
    assert (len(page.files), len({name for name, _ in page.diffs})) == (0, 3)
    generate = "python generate.py run=runs/sampled tokens=40"
    plain, cut, greedy = copy.run(generate, f"{generate} epsilon=1.0", f"{generate} temperature=0")
    assert cut.stdout == greedy.stdout != plain.stdout
    code = "from gpt.playground.assets import files; print(files()['controls.json'].decode())"
    offered = subprocess.run([sys.executable, "-c", code], cwd=copy.folder, capture_output=True, text=True, check=True)
    (option,) = [option for option in json.loads(offered.stdout)["sampling"] if option["name"] == "epsilon"]
    assert option["help"].startswith("leave out tokens with less than this probability")
    with chromium() as browser, serving_files(copy.folder / "gpt" / "playground" / "page") as address:
        tab = browser.new_page()
        tab.goto(f"{address}/icon.svg")
        code = "import('/predictions.js').then(({ shaped }) => Array.from(shaped([2, 1, 0, -1], { epsilon: 0.05 })))"
        assert [p > 0 for p in tab.evaluate(code)] == [True, True, True, False]


def test_added_loggers_see_every_step_the_report_and_the_gradients(done: Callable[[str], Copy]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = done("logger").folder
    steps = [path.read_text().splitlines() for path in folder.rglob("steps.txt")]
    assert ["5", "10", "15", "20"] in [[line.split()[0] for line in lines[:4]] for lines in steps]
    assert all(lines[-1].startswith("sample from it: ") for lines in steps)
    (path,) = folder.rglob("tensorboard/gradients")
    events = EventAccumulator(str(path), size_guidance={"histograms": 0}).Reload()
    assert {"gradients/lm_head.weight", "gradients/lm_head.bias"} <= {*events.Tags()["histograms"]}
    histograms = events.Histograms("gradients/lm_head.weight")
    assert [event.step for event in histograms] == [10, 20]
    assert all(event.histogram_value.max > event.histogram_value.min for event in histograms)


def test_an_added_tracker_has_every_row(done: Callable[[str], Copy]) -> None:
    (path,) = done("tracker").folder.rglob("tracked.jsonl")
    with FileLock(path.parent / ".json_lines.lock", timeout=60):  # until it has delivered everything
        *rows, results = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 5, 10, 15, 20]
    assert {"val", "entropy_val", "documented_val"} <= rows[-1].keys()
    assert {"exact_val", "report", "sample"} <= results.keys()


def test_each_layer_has_its_own_learning_rate(done: Callable[[str], Copy]) -> None:
    lines = done("optimizer").evaluations()
    rates = [[line[f"learning_rate_layer_{n}"] for n in range(5)] for line in lines if "learning_rate_layer_0" in line]
    assert rates
    assert all(each == [pytest.approx(1e-3 * 0.5 ** (4 - n)) for n in range(5)] for each in rates)


def test_resumed_runs_with_added_things_equal_uninterrupted_ones(whole: Copy) -> None:
    folder = whole.folder
    short = "training.max_iters=20 training.eval_interval=10 training.eval_iters=2 device=cpu"
    every = "checkpoint.interval=10 checkpoint.min_seconds=0"
    chosen = {
        "text": "model=window_mean optimizer=lion schedule=staircase data=squares metrics=top_k",
        "task": "model=v5 data=speeches",
        "tokens": "model=v5 optimizer=layerwise data.tokenizer=syllables",
    }
    wholes = whole.run(
        *(f"python train.py {what} {short} {every} hydra.run.dir=whole/{name}" for name, what in chosen.items())
    )
    assert [done.returncode for done in wholes] == [0, 0, 0]
    shutil.copytree(folder / "whole", folder / "parts")
    for name in chosen:  # as if it had died after iteration 10
        (folder / "parts" / name / "summary.json").unlink()
        shutil.rmtree(folder / "parts" / name / "checkpoints" / "00000020")
    for name, done in zip(chosen, whole.run(*(f"python train.py resume=parts/{name}" for name in chosen)), strict=True):
        assert "from iteration 10" in done.stdout, done.stderr
        for file in ("metrics.jsonl", "last.safetensors", "sample.txt"):
            assert results.content(folder / "parts" / name / file) == results.content(folder / "whole" / name / file)


def test_an_added_task_is_found_by_its_corpus(done: Callable[[str], Copy]) -> None:
    assert len(Page.read("task").files) <= 5
    copy = done("task")
    newest = copy.newest("data=speeches")
    evaluated, generated, sampled, misfit = copy.run(
        f"python evaluate.py run={newest} json=true",
        f"python generate.py run={newest} prompt=Romeo",
        f"python generate.py run={newest} prompt=Romeo tokens=20",
        "python train.py model=transformer data=speeches",
    )
    measures = json.loads(evaluated.stdout)
    assert 0 <= measures["accuracy"]["value"] <= 100
    assert measures["nats_per_speech"] > 0
    assert generated.stdout.strip().isupper()
    refused(sampled, "tokens")
    refused(misfit, "data=speeches")


def test_an_added_tokenizer_is_one_file_measured_by_character(done: Callable[[str], Copy]) -> None:
    assert [*Page.read("tokenizer").files] == ["gpt/data/tokenizers/syllables.py"]
    copy = done("tokenizer")
    newest = copy.newest("data.tokenizer=syllables")
    evaluated, generated, unknown = copy.run(
        f"python evaluate.py run={newest} json=true",
        f"python generate.py run={newest} prompt='What is' tokens=20 seed=1",
        f"python generate.py run={newest} prompt=é",
    )
    measures = json.loads(evaluated.stdout)
    assert measures["nats_per_character"] < measures["nats_per_syllable"]
    assert generated.stdout.startswith("What is")
    refused(unknown, "é")


def test_an_added_script_takes_at_most_four_files(done: Callable[[str], Copy]) -> None:
    page = Page.read("script")
    assert len(page.files) + len(page.diffs) <= 4
    counted, shown, wrong = done("script").run(
        "python count.py v5", "python count.py --help", "python count.py v5 depth=0"
    )
    assert "    41,921 " not in counted.stdout  # parts, not their sum
    assert sum(int(line.split()[0].replace(",", "")) for line in counted.stdout.splitlines()) == 41_921
    assert "depth=1 " in shown.stdout
    refused(wrong, "depth=0")


def test_a_stage_from_outside_generates_is_compared_and_resumed(done: Callable[[str], Copy]) -> None:
    copy = done("outside")
    folder, run = copy.folder, copy.run
    generated, compared = run(f"python generate.py run={copy.runs()[-1]['path']} tokens=20", "python compare.py")
    assert generated.returncode == 0, generated.stderr
    assert len(generated.stdout) == 21
    assert "wide" in compared.stdout
    (folder / "mine" / "model" / "v5_again.yaml").write_text((folder / "conf" / "model" / "v5.yaml").read_text())
    short = "training.max_iters=2 training.eval_iters=1 device=cpu"
    succeeded(*run(f"python train.py --config-dir=mine model=v5_again {short}"))
    newest = copy.runs()[-1]
    assert newest["stage"] == "v5_again"
    resume = f"resume={newest['path']} training.max_iters=4"
    without, ended = run(f"python train.py {resume}", f"python train.py --config-dir=mine {resume}")
    refused(without, "--config-dir")
    succeeded(ended)
