"""The commands as a user runs them: processes, with their output, their files and their exit codes."""

import argparse
import importlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
import torch
import yaml
from hydra.core.plugins import Plugins

from gpt.base.keys import flat
from gpt.data.overlap import recited
from tests.conftest import REPOSITORY, Script

SHORT = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1"]


def run_folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / "runs").rglob("summary.json"))


def test_train_ends_with_what_was_documented_and_measured(script: Script, tmp_path: Path) -> None:
    done = script("train.py", "model=v5", "seed=3", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (run,) = run_folders(tmp_path)
    assert re.fullmatch(r"\d\d-\d\d-\d\d_v5_seed3", run.name)
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['estimated']['val']:.4f}" in done.stdout
    assert f"{summary['exact']['val']:.4f}" in done.stdout
    assert "not the documented run of v5: training.max_iters=4" in done.stdout
    assert not re.search(r"^documented", done.stdout, re.MULTILINE)
    assert done.stdout.startswith("text: 1,003,854 characters to train on, 111,540 to validate on; a vocabulary of 65")
    assert f"python generate.py run={run.relative_to(tmp_path)}" in done.stdout
    assert len(re.findall(r"^iteration", done.stdout, re.MULTILINE)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_generate_writes_the_text_alone_to_standard_output(script: Script, called: Script, trained: Path) -> None:
    arguments = ("prompt=Abc", "tokens=30", "seed=5")
    first = script("generate.py", *arguments, cwd=trained)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("Abc")
    assert len(first.stdout) == len("Abc") + 30 + len("\n")
    assert "best weights of runs/" in first.stderr
    assert called("generate.py", *arguments, cwd=trained).stdout == first.stdout
    assert called("generate.py", "prompt=Abc", "tokens=30", "seed=6", cwd=trained).stdout != first.stdout


def test_a_damaged_run_is_skipped_with_a_warning(called: Script, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    damaged = tmp_path / "runs" / "damaged"
    damaged.mkdir()
    (damaged / "summary.json").write_text("{}")
    done = called("generate.py", "tokens=10", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout) == 11  # the text and nothing else
    assert "warning: skipped: runs/damaged" in done.stderr


def test_generate_takes_its_options(called: Script, trained: Path, tmp_path: Path) -> None:
    (run,) = run_folders(trained)
    prompt = tmp_path / "prompt, (1).txt"
    prompt.write_text("abc\n")
    done = called(
        "generate.py", f"run={run}", f"prompt_file={prompt}", "tokens=20", "num_samples=3", "temperature=0",
        "top_k=5", "top_p=0.9", "weights=last", "device=cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    samples = done.stdout.split("\n\n")[:3]
    assert samples[0].startswith("abc\n")
    assert len(set(samples)) == 1  # at temperature 0 all are the same
    assert "sample 3 of 3" in done.stderr


def test_generate_says_what_its_samples_recite(called: Script, corpus_file: Path, trained: Path) -> None:
    """The prompt and what lies between two samples do not count."""
    begun = corpus_file.read_text()[:100]
    for number, options in ((1, ["tokens=40"]), (3, ["tokens=30", "num_samples=3"])):
        done = called("generate.py", f"prompt={begun}", "temperature=0.3", "recited=true", *options, cwd=trained)
        assert done.returncode == 0, done.stderr
        samples = [part.removeprefix(begun).rstrip("\n") for part in done.stdout.split(begun)[1:]]
        assert len(samples) == number
        found = [recited(sample, corpus_file.read_text()[:18_000]) for sample in samples]
        share = sum(count for count, _ in found) / sum(map(len, samples))
        assert f"recited: {share:.1%} of the characters" in done.stderr
        longest = max((passage for _, passage in found), key=len)
        assert f"has {len(longest)}: {longest!r}" in done.stderr


@pytest.mark.parametrize("prompt", ["a b, c", "${a}", "null"])
def test_a_prompt_is_taken_as_it_is(prompt: str, called: Script, corpus_file: Path, trained: Path) -> None:
    """No character of a prompt means anything to Hydra: it is continued, or named as lacking in the corpus."""
    done = called("generate.py", f"prompt={prompt}", "tokens=1", cwd=trained)
    missing = set(prompt) - set(corpus_file.read_text())
    if prompt == "null":  # the documented way to say: none
        assert len(done.stdout) == len("x\n")
    elif missing:
        assert (done.returncode, done.stdout) == (2, "")
        assert "not in the vocabulary" in done.stderr
    else:
        assert done.stdout.startswith(prompt)


def test_a_closed_pipe_is_not_an_error(script: Script, trained: Path) -> None:
    command = f"{sys.executable} {REPOSITORY / 'generate.py'} tokens=1000 | head -c 10"
    done = subprocess.run(command, shell=True, cwd=trained, capture_output=True, text=True)
    assert len(done.stdout) == 10
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["generate.py tokens=5", "evaluate.py", "compare.py", "train.py --help"])
@pytest.mark.parametrize("output", [">/dev/full", "| true"])
def test_what_cannot_be_printed_ends_in_at_most_one_line(
    trained: Path, tmp_path: Path, command: str, output: str
) -> None:
    """With Python's usual buffers, whose content would otherwise fail once nothing can be said of it."""
    command = f"{sys.executable} {REPOSITORY / command} {output}; exit ${{PIPESTATUS[0]}}"
    if "compare" in command:
        command = command.replace("compare.py", f"compare.py runs={trained / 'runs'}")
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    folder = tmp_path if "compare" in command else trained
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=usual, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if " weights of " not in line]  # which run it is
    if output == "| true":
        assert done.returncode in (0, 1)  # it may be too quick to be noticed
        assert said == []
    else:
        assert (done.returncode, said) == (1, ["error: No space left on device"])


def test_compare_writes_beside_the_caller_and_into_no_run(called: Script, trained: Path, tmp_path: Path) -> None:
    (run,) = run_folders(trained)
    before = sorted(trained.rglob("*"))
    written = {"compare.md", "compare.csv", "compare.json", "compare.png"}
    done = called("compare.py", f"out={tmp_path / 'new'}", cwd=trained)
    assert "1 run on words, and (more).txt" in done.stdout
    assert {path.name for path in (tmp_path / "new").iterdir()} == written
    (tmp_path / "place").mkdir()
    done = called("compare.py", f"runs=[{run},{run.parent}]", cwd=tmp_path / "place")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "place").iterdir()} == written
    assert sorted(trained.rglob("*")) == before
    shutil.copytree(trained / "runs", tmp_path / "runs")
    for _ in range(2):
        assert called("compare.py", cwd=tmp_path).returncode == 0
        assert (tmp_path / "runs" / "compare.md").exists()


def test_jobs_of_joblib_run_side_by_side_each_in_its_own_folder(
    script: Script, corpus_file: Path, tmp_path: Path
) -> None:
    corpus = shutil.copy(corpus_file, tmp_path / "corpus.txt")
    done = script(
        "train.py", "-m", "hydra/launcher=joblib", "model=v1,v6", "seed=1,2", *SHORT,
        "data=text", f"data.path={corpus}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summaries = {run.name: json.loads((run / "summary.json").read_text()) for run in run_folders(tmp_path)}
    assert list(summaries) == ["000_v1_seed1", "001_v1_seed2", "002_v6_seed1", "003_v6_seed2"]
    assert [(s["stage"], s["seed"]) for s in summaries.values()] == [("v1", 1), ("v1", 2), ("v6", 1), ("v6", 2)]
    assert "[4] job 4 of 4: model=v6 seed=2" in done.stdout.splitlines()
    assert any(line.startswith("[4] iteration 4") for line in done.stdout.splitlines())
    ranking = done.stdout.partition("4 runs on corpus.txt")[2]
    assert re.search(r"^v[16] +2 +\d\.\d{4} ± \d\.\d{4} +best", ranking, re.MULTILINE)


def test_a_failing_job_does_not_stop_its_sweep(script: Script, corpus_file: Path, tmp_path: Path) -> None:
    corpus = shutil.copy(corpus_file, tmp_path / "corpus.txt")
    done = script(
        "train.py", "-m", "model=v6", "model.n_head=5,7,4", *SHORT, "data=text", f"data.path={corpus}", cwd=tmp_path
    )
    assert done.returncode == 2
    for number, heads in ((1, 5), (2, 7)):
        assert f"error: job {number} of 3: n_head={heads}: " in done.stderr
        assert f"n_embd=32 must be a multiple of n_head={heads}" in done.stderr
    assert done.stderr.endswith("error: not every job of the sweep succeeded\n")
    assert done.stderr.count("\n") == 3, done.stderr
    assert len(run_folders(tmp_path)) == 1


def test_a_sweep_without_a_run_leaves_nothing_behind(called: Script, tmp_path: Path) -> None:
    done = called("train.py", "-m", "model=v1", "seed=a,b", cwd=tmp_path)
    assert done.stderr == "error: nothing was trained, because of the job seed=a: seed=a: must be a whole number\n"
    done = called("train.py", "-m", "model=v1", "seed=1", "hydra/launcher=slurm", cwd=tmp_path, PATH="")
    assert "error: submitit: " in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped")])
def test_a_signal_ends_a_command_in_a_line_from_its_first_moment(number: int, line: str, tmp_path: Path) -> None:
    """While it imports, and while Hydra composes, which makes an exception one of its own."""
    for name, awaited in (("train", "pydantic"), ("export", "omegaconf")):
        code = (
            "import importlib.abc, os, runpy, signal, sys\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a suite in the background ignores
            "class Signal(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, path, target=None):\n"
            f"        if name == {awaited!r}:\n"
            f"            os.kill(os.getpid(), {int(number)})\n"
            "sys.meta_path.insert(0, Signal())\n"
            f"sys.argv = ['{name}.py']\n"
            f"runpy.run_path({str(REPOSITORY / f'{name}.py')!r}, run_name='__main__')\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"{line}\n"), (name, awaited)
    assert list(tmp_path.iterdir()) == []


WRONG = [
    ("train.py", ["model=v0"], 2, "model=v0 does not exist; model can be v1, v2, v3, v3_ffn, v4, v5, v6, v7, v8, "),
    ("train.py", ["training.max_iter=5"], 2, "unknown key training.max_iter; did you mean training.max_iters?"),
    ("train.py", ["modle=v2"], 2, "unknown key modle; did you mean model?"),
    ("train.py", [f"experiment={'x' * 300}"], 2, "xxx does not exist; experiment can be"),
    ("train.py", [f"adds={'x' * 9000}"], 2, "has more than 200 characters"),
    ("train.py", ["model=v1", "model.n_layer=4"], 2, "model=v1 has no key n_layer; it is a key of model=v4, v5"),
    ("generate.py", ["stage=../v6"], 2, "stage=../v6: may have letters, digits and _ - only"),
    ("train.py", ["+new=1"], 2, "unknown key new"),
    ("train.py", ["seed=abc"], 2, "seed=abc: must be a whole number"),
    ("train.py", ["seed=1,2"], 2, "seed=1,2 has several values: add -m for a sweep"),
    ("train.py", ["training.grad_accumulation=5"], 2, "batch_size=32 must be a multiple of grad_accumulation"),
    ("train.py", ["hydra.nope=1"], 2, "unknown key hydra.nope"),
    ("train.py", ["hydra.run.dir="], 2, "hydra.run.dir= is empty: name a folder"),
    ("train.py", ["model=v1", "hydra.run.dir=???"], 2, "hydra.run.dir= is empty: name a folder"),
    ("train.py", ["model=v2", "experiment=v7_cpu"], 2, "model.n_head is not a hyperparameter"),
    ("train.py", ["model.n_embd=30"], 2, "model: n_embd=30 must be a multiple of n_head=4"),
    ("train.py", ["schedule.warmup_iters=5001"], 2, "schedule.warmup_iters=5001 is longer than the run, which has"),
    ("train.py", ["training.eval_interval=often"], 2, "training.eval_interval=often: must be a whole number or epoch"),
    ("train.py", ["training=[1]"], 2, "training=[1]: give a value to each key of this group by name"),
    ("train.py", ["seed=${nothing}"], 2, "seed: there is no key 'nothing'"),
    ("train.py", ["data=text"], 2, "data.path is required: add data.path=VALUE"),
    ("train.py", ["data=text", "data.path=/nowhere"], 2, "there is no file /nowhere"),
    ("train.py", ["data=text", "data.path=/dev/zero"], 2, "/dev/zero is not a file"),
    ("train.py", ["device=tpu"], 2, "device=tpu: must be auto, cpu, cuda or mps"),
    ("train.py", ["runs=/proc/nowhere"], 1, "/proc/nowhere"),
    ("play.py", ["run=/nowhere"], 1, "/nowhere/summary.json is missing: its folder does not hold a complete run"),
    ("train.py", ["-m", "--cfg", "job", "seed=1,2"], 2, "--cfg and --info show a single job: remove -m"),
    ("train.py", ["~model"], 2, "model is required: choose one with model=NAME"),
    ("train.py", ["~optimizer.beta1"], 2, "optimizer.beta1 is required by gpt.training.optimizers.AdamW"),
    ("train.py", ["schedule.final=0.1"], 2, "schedule=constant has no key final; it is a key of schedule=cosine,"),
    ("train.py", ["model=transformer", "data=shakespeare"], 2, "it needs pairs, such as data=multi30k"),
    ("train.py", ["model=[1]"], 2, "a group takes the name of a file in conf/, as in model=v5"),
    ("train.py", ["hydra/launcher=nope"], 2, "hydra/launcher=nope does not exist; hydra/launcher can be basic"),
    ("evaluate.py", ["data=text"], 2, "unknown key data; did you mean data.dir?"),
    ("evaluate.py", ["model=v5"], 2, "no finished run of v5 in runs: train one with python train.py model=v5"),
    ("generate.py", [], 2, "no finished run in runs: train one with python train.py model=v1"),
    ("generate.py", ["run=/nowhere"], 1, "/nowhere/config.yaml is missing: its folder does not hold a complete run"),
    ("train.py", ["--n-layer", "4"], 2, "there is no option --n-layer: type model.n_layer=4, without dashes"),
    ("train.py", ["model=v1", "--config-dir"], 2, "--config-dir needs a value"),
    ("generate.py", ["-m=2"], 2, "-m takes no value"),
    ("generate.py", ["prompt=a", "prompt_file=b"], 2, "give prompt or prompt_file, not both"),
    ("train.py", ["model=v7", "training.batch_size=1000000"], 2, "a step over 256,000,000 tokens at once needs"),
    ("train.py", ["hydra.verbose={a:1}"], 2, "Hydra cannot use hydra.verbose={a:1}"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"), WRONG, ids=[f"{w[0]} {' '.join(w[1])}" for w in WRONG]
)
def test_what_a_user_gets_wrong_ends_in_one_line(
    name: str, arguments: list[str], code: int, message: str, called: Script, tmp_path: Path
) -> None:
    refused(called(name, *arguments, cwd=tmp_path), code, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    ["--config-dir=mine", "--config-dir mine", "-cd mine", "--cfg job", "-c hydra", "-p training -c job", "-cn train",
     "--config-path=CONF", "-r"],
)  # fmt: skip
def test_a_mistyped_key_is_named_beside_any_option(options: str, called: Script, tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    shutil.copy(REPOSITORY / "conf" / "model" / "v2.yaml", tmp_path / "mine" / "model" / "wide.yaml")
    typed = options.replace("CONF", str(REPOSITORY / "conf")).split()
    stage = ["model=wide"] if "mine" in options else []
    done = called("train.py", *typed, *stage, "training.max_iter=5", cwd=tmp_path)
    refused(done, 2, "unknown key training.max_iter; did you mean training.max_iters?")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("defaults:\n  - own\nadds: x", "or the defaults lists of its files form a loop"),
        (f"adds: {'[' * 3000}{']' * 3000}", "the configuration is nested too deeply"),
        ('adds: "a\0b"', "unacceptable character #x0000"),
        ("adds: caf\udce9", "a file of the configuration is not UTF-8 text"),
        ("model: 5", "model=5: must be a group of keys"),
    ],
)
def test_what_is_wrong_in_a_folder_of_ones_own_ends_in_one_line(
    content: str, message: str, called: Script, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    text = f"# @package _global_\n{content}\n"
    (tmp_path / "model" / "own.yaml").write_bytes(text.encode(errors="surrogateescape"))
    refused(called("train.py", "--config-dir=.", "model=own", cwd=tmp_path), 2, message)


def test_a_failure_of_hydras_start_is_not_blamed_on_the_keys(
    called: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.14 formats the help of each argument when it is added, which Hydra's lazy one does not allow."""
    add = argparse.ArgumentParser._add_action

    def checked(parser: argparse.ArgumentParser, action: argparse.Action) -> argparse.Action:
        try:
            argparse.HelpFormatter("")._expand_help(action)
        except TypeError:
            raise ValueError("badly formed help string") from None
        return add(parser, action)

    monkeypatch.setattr(argparse.ArgumentParser, "_add_action", checked)
    done = called("train.py", "model=v1", "hydra.run.dir=x", cwd=tmp_path)
    refused(done, 1, f"Hydra {hydra.__version__} cannot start on Python ")


def refused(done: subprocess.CompletedProcess, code: int, message: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prompt=é"], "the character 'é' (U+00E9) is not in the vocabulary"),
        (["prompt="], "the prompt is empty"),
        (["prompt_file=/nowhere"], "there is no file /nowhere"),
        (["num_samples=2147483647"], "be at most 100,000,000: generate it in several parts"),
        (["device=cuda"], "device=cuda is not available here"),
        (["beam=3"], "beam is for a run that translates, but this one continues a text"),
    ],
)
def test_what_can_be_wrong_once_there_is_a_run(
    arguments: list[str], message: str, called: Script, trained: Path
) -> None:
    if arguments == ["device=cuda"] and torch.cuda.is_available():
        arguments, message = ["device=mps"], "device=mps is not available here"
    refused(called("generate.py", *arguments, cwd=trained), 2, message)


def test_the_page_is_not_opened_on_weights_that_the_run_lacks(called: Script, trained: Path) -> None:
    for weights, words in (("7000", "weights after 7000 iterations"), ("averaged", "averaged weights")):
        refused(called("play.py", f"weights={weights}", "open=false", cwd=trained), 2, f"the run has no {words}")


def test_help_and_completion_import_no_torch(tmp_path: Path) -> None:
    """Importing it takes a second, which is long for a Tab."""
    said = []
    for arguments, asked in ((["--help"], ""), (["-sc", "query=bash"], "train.py optimizer="), (["--cfg", "job"], "")):
        command = [sys.executable, "-X", "importtime", str(REPOSITORY / "train.py"), *arguments]
        environment = os.environ | {"COMP_LINE": asked}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-300:]
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "hydra" in imported
        assert "torch" not in imported
        said.append(done.stdout.split())
    optimizers = sorted(path.stem for path in (REPOSITORY / "conf" / "optimizer").iterdir())
    assert said[1] == [f"optimizer={name}" for name in optimizers]


@pytest.mark.parametrize("value", ["a b, c", "it's", "${a}", "x\\", "\\${b}", "[1", "a=b", '"', "{a: 1}", "äöü 日本"])
def test_cfg_shows_the_values_that_were_given(value: str, called: Script, tmp_path: Path) -> None:
    done = called("generate.py", f"prompt={value}", "--cfg", "job", "--resolve", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["prompt"] == value


def test_a_launcher_that_is_not_installed_says_what_installs_it(tmp_path: Path) -> None:
    without = (
        "import importlib.abc, runpy, sys\n"
        "class Without(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.startswith('hydra_plugins'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "sys.argv = ['train.py', '-m', 'hydra/launcher=slurm', 'seed=1,2']\n"
        f"runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", without], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: hydra/launcher=submitit_slurm is not installed: pip install -e '.[slurm]'\n"


def test_a_sweeper_gets_the_validation_loss_of_each_job(
    called: Script, corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Optuna or any other sweeper for Hydra would minimise."""
    Plugins.instance()  # imports the sweeper's module anew
    sweeper, got = importlib.import_module("hydra._internal.core_plugins.basic_sweeper").BasicSweeper, []
    sweep = sweeper.sweep
    monkeypatch.setattr(sweeper, "sweep", lambda self, arguments: got.extend(sweep(self, arguments)))
    corpus = shutil.copy(corpus_file, tmp_path / "corpus.txt")
    swept = ["-m", "model=v1", "seed=1,2", *SHORT, "data=text", f"data.path={corpus}"]
    done = called("train.py", *swept, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "job 2 of 2: seed=2" in done.stdout.splitlines()
    losses = [json.loads((run / "summary.json").read_text())["exact"]["val"] for run in run_folders(tmp_path)]
    assert [job.return_value for batch in got for job in batch] == losses


def test_help_is_shown_whatever_else_the_command_line_says(called: Script, tmp_path: Path) -> None:
    done = called("train.py", "model=[1]", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python train.py model=v5\n" in done.stdout
    assert re.search(r"^  runs=runs +\w+", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("chosen", ["model=transformer", "experiment=v7_cpu"])
def test_help_says_what_every_key_means_and_has(chosen: str, called: Script, tmp_path: Path) -> None:
    done = called("train.py", "--help", chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    composed = called("train.py", "--cfg", "job", chosen, cwd=tmp_path)
    for key, value in flat(yaml.safe_load(composed.stdout)).items():
        if key not in ("adds", "stage") and not key.startswith("documented.") and not key.endswith("_target_"):
            (line,) = re.findall(rf"^  {re.escape(key)}=(\S*)", done.stdout, re.MULTILINE)
            assert value is None or line in (str(value), str(value).lower(), "$GPT_DATA_DIR"), key
    for group in ("model", "data", "optimizer", "schedule", "logger", "metrics", "experiment", "debug"):
        for path in (REPOSITORY / "conf" / group).rglob("*.yaml"):
            name = path.relative_to(REPOSITORY / "conf" / group).with_suffix("").as_posix()
            assert re.search(rf"^  [* ] {name}\b", done.stdout, re.MULTILINE)
    assert done.stdout.index("model=NAME") < done.stdout.index("data=NAME")  # what to choose first
    assert "hydra/launcher=joblib" in done.stdout


def test_a_model_too_large_for_memory_is_refused(corpus_file: Path, tmp_path: Path) -> None:
    """Under a limit of 5 GB, with weights of 5.1, which another machine may lack memory for anyway."""
    train = shlex.join([sys.executable, str(REPOSITORY / "train.py"), "data=text", f"data.path={corpus_file}"])
    command = f"ulimit -v 5000000; {train} device=cpu model.n_embd=6144 model.n_head=1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert re.fullmatch(r"error: (not enough memory for this:|the weights of this model take) .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_run_records_how_it_was_started_and_resumed(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    options = ["model=v1", *SHORT, "data=text", f"data.path={corpus_file}", "name=short", "tags=[a,b]"]
    done = called("train.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(tmp_path)
    assert re.fullmatch(r"\d\d-\d\d-\d\d_v1_short_seed1337", run.name)
    done = called("train.py", f"resume={run}", "training.max_iters=8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["name"], summary["tags"]) == ("short", ["a", "b"])
    assert [(c["iteration"], c["command"]) for c in summary["commands"]] == [
        (0, shlex.join(["python", "train.py", *options])),
        (4, shlex.join(["python", "train.py", f"resume={run}", "training.max_iters=8"])),
    ]
    found = called("compare.py", "tags=[a]", cwd=tmp_path)
    assert "1 run on" in found.stdout
    assert called("compare.py", "tags=[c]", cwd=tmp_path).returncode == 2


def test_a_text_is_evaluated_as_a_whole(called: Script, trained: Path, tmp_path: Path) -> None:
    text = tmp_path / "a text.txt"
    text.write_text("Abc def gha.\nJé abc.\n" * 20)
    done = called("evaluate.py", f"text={text}", "json=true", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "warning: left out 20 characters that the vocabulary lacks: 'é'\n"
    found = json.loads(done.stdout)
    assert found["bits_per_character"] == pytest.approx(found["nats_per_character"] / math.log(2))
    assert (found["scored"], found["left_out"]) == (399, 20)
    assert found["in_sliding_windows"]["value"] == pytest.approx(found["nats_per_character"], abs=0.2)
    assert not any(" " in name for name in found)
    table = called("evaluate.py", f"text={text}", cwd=trained).stdout
    shown = ("399", "20 left out", f"{found['nats_per_character']:.4f}", f"{found['bits_per_character']:.4f}")
    assert all(figure in table for figure in shown)
    each = json.loads(called("evaluate.py", f"text={text}", "losses=true", "json=true", cwd=trained).stdout)
    assert "".join(character for character, _ in each["losses"]) == text.read_text().replace("é", "")[1:]
    rows = called("evaluate.py", f"text={text}", "losses=true", cwd=trained).stdout.splitlines()
    assert rows[-1] == f"{each['losses'][-1][1]:.4f} '\\n'"
    assert len(rows) == len(table.splitlines()) + len(each["losses"])
    for arguments, message in (
        (["losses=true"], "losses=true shows the loss of each token of a text: add text=FILE"),
        ([f"text={text}", f"data.path={text}"], "text= is measured alone: omit data.path="),
        ([f"data.source={text}"], "data.source is not a key of this run's corpus, gpt.data.corpora.text"),
        ([f"text={text}", "split=val"], "text= is measured as a whole: omit split="),
    ):
        assert called("evaluate.py", *arguments, cwd=trained).stderr == f"error: {message}\n"


@pytest.mark.parametrize("split", ["train", "val"])
def test_any_split_is_evaluated(split: str, called: Script, trained: Path) -> None:
    done = called("evaluate.py", f"split={split}", "weights=last", "json=true", cwd=trained)
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(trained)
    estimated = json.loads((run / "summary.json").read_text())["estimated"][split]
    found = json.loads(done.stdout)
    assert found["nats_per_character"] == pytest.approx(estimated, abs=0.1)
    assert found["in_sliding_windows"]["value"] == pytest.approx(found["nats_per_character"], abs=0.1)


def test_counts_do_not_predict_the_text_that_they_are_from(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    """On the training split, v9 leaves out what it counted around each window, as it does in training."""
    short = ["training.max_iters=1", "training.eval_interval=1", "training.eval_iters=2", "model.block_size=32"]
    small = ["model.n_embd=16", "model.n_layer=1", "data=text", f"data.path={corpus_file}"]
    done = called("train.py", "model=v9", *short, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(tmp_path)
    estimated = json.loads((run / "summary.json").read_text())["estimated"]["train"]
    done = called("evaluate.py", "split=train", "weights=last", "json=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nats_per_character"] == pytest.approx(estimated, abs=0.05)
