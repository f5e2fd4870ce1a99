"""What users type by instinct: words without a key, quotes, lists, other names for a key."""

import contextlib
import importlib
import inspect
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

import gpt
from gpt import __main__ as listing
from gpt.base.commands import COMMANDS
from gpt.base.keys import flat
from gpt.cli.composing import composed, is_for_users, own_configuration
from gpt.cli.help import meanings
from gpt.cli.requests import of_python
from gpt.data import corpora
from tests.conftest import REPOSITORY, Script


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a run, whose name has a space, in a folder of runs; a text; and a stage of the user's own."""
    run = tmp_path / "my runs" / "a run"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    (tmp_path / "text.txt").write_text("a text")
    (tmp_path / "own" / "model").mkdir(parents=True)
    shutil.copy(REPOSITORY / "conf" / "model" / "v2.yaml", tmp_path / "own" / "model" / "mine.yaml")
    (tmp_path / "own" / "experiment").mkdir()
    (tmp_path / "own" / "experiment" / "bare.yaml").write_text("training:\n  max_iters: 5\n")
    return tmp_path


PLAIN = [
    ("train.py v5", "stage", "v5"), ("train.py --config-dir own mine", "stage", "mine"),
    ("train.py seed=2 v5", "seed", 2), ("generate.py 5", "prompt", "5"),
    ("generate.py 'ROMEO: x'", "prompt", "ROMEO: x"), ("generate.py '-- Yes'", "prompt", "-- Yes"),
    ("generate.py 'my runs/a run'", "run", "my runs/a run"),
    ("generate.py run= 'my runs/a run'", "run", "my runs/a run"), ("generate.py 'run=\"a b\"'", "run", "a b"),
    ("export.py 'runs=[a,b c]'", "runs", "[a,b c]"), ("export.py onnx", "format", "onnx"),
    ("compare.py 'my runs' runs/x", "runs", "my runs,runs/x"), ("search.py n_trials=1e1", "n_trials", 10),
    ("evaluate.py text.txt", "text", "text.txt"), ("train.py name=5", "name", "5"),
    ("train.py name=1e-3", "name", "1e-3"), ("train.py name=true", "name", "true"),
    ("train.py runs=2024", "runs", "2024"), ("train.py name=null", "name", None),
    ("generate.py prompt=123", "prompt", "123"), ("play.py host=1e3", "host", "1e3"),
    (r"generate.py prompt='a\tb\\nc\d'", "prompt", "a\tb\\nc\\d"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "key", "value"), PLAIN, ids=[typed for typed, *_ in PLAIN])
def test_what_is_plain_is_done(typed: str, key: str, value: object, called: Script, place: Path) -> None:
    name, *arguments = shlex.split(typed)
    done = called(name, *arguments, "--cfg", "job", *(["--resolve"] if name == "train.py" else []), cwd=place)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)[key] == value


UNCLEAR = [
    ("train.py data=text data.path=~/no", "there is no file /home of/no"),
    ("train.py data=text data.path=['~/no',x]", "there is no file /home of/no"),
    ("train.py 'resume=\"~/no\"'", "resume=/home of/no: no such folder"),
    ("train.py runs=~/no,~/no", "runs='/home of/no','/home of/no' has several values: add -m"),
    ("train.py --config-dir=~/no v5", "'/home of/no' not found"),
    ("compare.py runs=[~/no,x]", "no finished run in /home of/no, x:"),
    ("train.py data=text data.path=caf\udce9.txt", r"data.path=caf\udce9.txt: is not UTF-8; a file or folder"),
    ("generate.py prompt_file=caf\udce9.txt", r"prompt_file=caf\udce9.txt: is not UTF-8"),
    ("train.py runs=caf\udce9", r"runs=caf\udce9: is not UTF-8"),
    ("generate.py ~/no", "did you mean run='~/no' or prompt='~/no'?"),
    ("train.py v55", "cannot read 'v55' as key=value; did you mean model=v5? model can be v1, v2, v3, v3_ffn, v4, "),
    ("train.py copy", "cannot read 'copy' as key=value; did you mean data=copy or experiment=copy?"),
    ("train.py v5 v6", "model has several values, 'v5' and 'v6'"),
    ("generate.py a/b", "cannot read 'a/b' as key=value; did you mean run=a/b or prompt=a/b?"),
    ("generate.py prompt=To be", "prompt has several values, 'To' and 'be': quote it as a whole, prompt='To be'"),
    ("generate.py tokens", "tokens needs a value, as in tokens=500, without spaces around the sign"),
    ("train.py training.learning_rate", "needs a value, as in training.learning_rate=0.001"),
    ("train.py training", "training: give a value to each key of this group by name, as in training.max_iters=5000"),
    ("train.py training.learning_rat", "unknown key training.learning_rat; did you mean training.learning_rate?"),
    ("train.py adamv", "did you mean optimizer=adamw? optimizer can be adamw, adamw_transformer, "),
    ("train.py optimizer.momentum", "optimizer=adamw has no key momentum; it is a key of optimizer=muon"),
    ("train.py lr", "cannot read 'lr' as key=value; did you mean training.learning_rate=0.001?"),
    ("train.py --hlep", "there is no option --hlep: did you mean --help?"),
    ("train.py text.txt", "for a file of text, type data=text data.path=text.txt; for one of settings, call it .yaml"),
    ("train.py help", "cannot read 'help' as key=value; did you mean --help?"),
    ("compare.py 'runs=[a,\"b, c\"]'", "no finished run in a, b, c: train one"),
    ("compare.py by=a,b,c", "by=['a', 'b', 'c']: must have at most 2 values"),
    ("train.py training.epoch=3", "unknown key training.epoch; did you mean training.epochs?"),
    ("train.py schedule.min_lr=3", "did you mean schedule.final, of schedule=cosine, linear, trapezoid?"),
    ("generate.py presence_penalty=1.2", "unknown key presence_penalty; --help lists the keys"),
    ("generate.py lenght_penalty=1", "unknown key lenght_penalty; did you mean length_penalty?"),
    ("train.py out_dir=x", "unknown key out_dir; did you mean hydra.run.dir?"),
    # Other programs' words.
    *(
        (f"train.py {typed}", f"did you mean {meant}?")
        for typed, meant in {
            "epochs=3": "training.epochs", "num_train_epochs=3": "training.epochs",
            "early_stopping=true": "training.patience",
            "early_stop=3": "training.patience", "checkpoint.every=100": "checkpoint.interval",
            "file=a.txt": "data=text data.path=a.txt", "text=a.txt": "data=text data.path=a.txt",
            "data.file=a.txt": "data=text data.path=a.txt", "data_path=a.txt": "data=text data.path=a.txt",
            "cuda=true": "device=cuda", "gpu": "device=cuda", "gpus=1": "device=cuda", "no_cuda=true": "device=cpu",
            "mps=true": "device=mps", "betas=[0.9,0.99]": "optimizer.beta1",
            "eval_seconds=30": "training.eval_interval",
            "val_check_interval=5": "training.eval_interval", "fp16=true": "dtype=bfloat16", "bf16": "dtype=bfloat16",
            "amp=true": "dtype", "fp32=true": "dtype=float32", "wandb=true": "logger=wandb",
            "use_wandb=1": "logger=wandb", "tensorboard=true": "logger=tensorboard",
            "project=mine": "logger=wandb logger.wandb.project=mine", "out=x": "hydra.run.dir",
            "log_dir=x": "hydra.run.dir", "steps=5": "training.max_iters", "bs=4": "training.batch_size",
            "d_model=4": "model.n_embd", "min_lr=1": "schedule.final, of schedule=cosine, linear, trapezoid",
            "warmup_steps=5": "schedule.warmup_iters", "resume_from=x": "resume", "finetune=x": "init",
            "max_norm=1": "training.grad_clip", "random_seed=1": "seed", "compute=x": "compile",
        }.items()
    ),
    *(
        (f"train.py {typed}", f"there is no option {typed.split()[0]}: type {meant}, without dashes")
        for typed, meant in {
            "--lr 3e-4": "training.learning_rate=3e-4", "--max_iters 5": "training.max_iters=5",
            "--n-layer 4": "model.n_layer=4", "--device cuda": "device=cuda", "--gpu": "device=cuda",
            "--config mine.yaml": "mine.yaml", "--wandb": "logger=wandb", "--seed 5": "seed=5",
            "--data-path a.txt": "data=text data.path=a.txt",
        }.items()
    ),
    ("train.py --lr=3e-4", "there is no option --lr: type training.learning_rate=3e-4, without dashes"),
    ("generate.py --max_new_tokens 100", "there is no option --max_new_tokens: type tokens=100, without dashes"),
    ("generate.py max_tokens=5", "unknown key max_tokens; did you mean tokens?"),
    ("generate.py stop_sequence=x", "unknown key stop_sequence; did you mean stop?"),
    ("generate.py --nonsense", "there is no option --nonsense: --help lists the keys"),
    ("train.py logger=csv,tensorboard", "for one run with all of them, type logger=[csv,tensorboard]"),
    ("generate.py model=v1,v2", "stage=v1,v2 has several values: give it one"),
    ("train.py data=/place/a.txt", "for a file, type data=text data.path=/place/a.txt"),
    ("train.py data=text.txt", "for a file, type data=text data.path=text.txt"),
    ("train.py data=sub/a.txt", "for a file, type data=text data.path=sub/a.txt"),
    ("train.py model=V5", "model=V5 does not exist; did you mean model=v5? model can be v1, v2,"),
    ("train.py data=shakespear", "data=shakespear does not exist; did you mean data=shakespeare? data can be"),
    ("train.py experiment=speedrun_network2", "did you mean experiment=speedrun_network?"),
    ("train.py experiment=mine.yaml", "takes a name without .yaml; a file of your own needs no key: train.py mine.y"),
    ("train.py experiment=nothing", "architectures/hybrid"),
    ("train.py --config-dir=own experiment=bare", "of this experiment lacks the line '# @package _global_' at"),
    ("train.py data.path=x", "data=shakespeare has no key path; it is a key of data=documents, questions, text; to"),
    ("train.py 'my runs/a run'", "did you mean resume='my runs/a run', or 'my runs/a run/config.yaml' to repeat"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "message"), UNCLEAR, ids=[typed for typed, _ in UNCLEAR])
def test_what_is_not_plain_is_said(typed: str, message: str, called: Script, place: Path) -> None:
    name, *arguments = shlex.split(typed)
    done = called(name, *arguments, cwd=place, HOME="/home of")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_whole_number_may_have_an_exponent(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    done = called(
        "train.py", "v2", "training.max_iters=2e0", "training.eval_iters=1e0", "model.block_size=1.6e1", "tags=a,b",
        "data=text", f"data.path={corpus_file}", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["training"]["max_iters"], config["model"]["block_size"]) == (2, 16)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["stage"], summary["iterations"], summary["tags"]) == ("v2", 2, ["a", "b"])


@pytest.mark.parametrize("quoted", ["'\"\\n\\n\"'", "'\\n\\n'", '"\\n\\n"', r'"\\n\n"', "$'\\n\\n'"])
def test_a_shell_passes_escapes_and_newlines_on(quoted: str, called: Script, place: Path) -> None:
    """The documented command among them."""
    if quoted.startswith("'\""):
        assert f" data.separator={quoted}\n" in (REPOSITORY / "docs" / "corpora.md").read_text()
    command = ["bash", "-c", f"printf %s data.separator={quoted}"]
    typed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = called("train.py", "data=text", "data.path=x", typed, "--cfg", "job", cwd=place)
    assert yaml.safe_load(done.stdout)["data"]["separator"] == "\n\n"


def test_the_jobs_of_a_sweep_read_texts_and_homes_as_one_run_does(
    called: Script, corpus_file: Path, tmp_path: Path
) -> None:
    corpus = f"data.path='{corpus_file}'"
    short = ["training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1"]
    swept = ["data.separator='\\n',\\\\n", "name=1e-3", "hydra.sweep.dir=~/sweep", "-m"]  # \n, and \\n for \n
    done = called("train.py", "v1", *short, "data=text", corpus, *swept, cwd=tmp_path, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    runs = [tmp_path / "home" / "sweep" / f"{number:03d}_v1_1e-3_seed1337" for number in (0, 1)]
    read = [yaml.safe_load((run / "config.yaml").read_text())["data"]["separator"] for run in runs]
    assert read == ["\n", "\\n"]
    done = called("train.py", f"resume={runs[1]}", "training.max_iters=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((runs[1] / "config.yaml").read_text())["data"]["separator"] == "\\n"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_python_has_escapes_of_its_own_and_the_same_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home of")
    monkeypatch.setenv("GPT_DATA_DIR", "~/data")
    config, _ = of_python(["data=text", "data.path=x", r"data.separator=\n", "runs=~/runs"])
    assert (config.data.hyperparameters["separator"], config.runs) == (r"\n", "/home of/runs")
    assert corpora._prepared() == Path("/home of/data/prepared")
    with pytest.raises(gpt.UserError, match="/home of/no/"):
        gpt.load("~/no")


def test_from_python_too() -> None:
    with pytest.raises(gpt.UserError, match="did you mean model=v5"):
        gpt.train("v55")


def test_composing_alone_leaves_a_running_hydra_as_it_was() -> None:
    with own_configuration():
        running = GlobalHydra.instance().hydra
        composed("train", [])
        assert GlobalHydra.instance().hydra is running


def test_the_version_is_that_of_this_project(called: Script, tmp_path: Path) -> None:
    assert called("train.py", "--version", cwd=tmp_path).stdout == f"gpt-ladder {gpt.__version__}\n"


def test_the_package_says_what_there_is() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "gpt"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    listed = [line[:20].strip() for line in done.stdout.splitlines() if line.startswith("python ") and ".py" in line]
    assert listed == [f"python {name}.py" for name in COMMANDS]
    assert not {"torch", "hydra"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, f"gpt-ladder {gpt.__version__}\n"),
        (["nonsense"], 2, "error: python -m gpt does not take 'nonsense'; alone, it lists the commands\n"),
        (["train", "v5"], 2, "error: python -m gpt does not take 'train': did you mean python train.py?\n"),
    ],
)
def test_the_package_takes_no_other_words(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpt", *arguments])
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as stopped:
        listing.main()
    assert stopped is None or stopped.value.code == code
    assert "".join(capsys.readouterr()) == said


def test_a_python_that_hydra_does_not_start_on_is_refused_before_hydra_is_imported() -> None:
    code = (
        "import runpy, sys\n"
        "sys.modules['hydra'] = None\n"  # which makes importing it an error
        "sys.version_info = (3, 14, 0, 'final', 0)\n"
        f"runpy.run_path({str(REPOSITORY / 'compare.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: Hydra does not start on Python 3.14: use Python 3.11, 3.12 or 3.13\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_script_a_function_of_its_schema_and_a_file_of_keys(name: str) -> None:
    command = COMMANDS[name]
    code = f"from gpt.__main__ import {name}  # its code: {command.module.replace('.', '/')}.py\n"
    assert code in (REPOSITORY / f"{name}.py").read_text()
    main = importlib.import_module(command.module).main
    assert inspect.signature(main).parameters["config"].annotation is command.load_schema()
    assert {*command.words} - {"model"} <= command.load_schema().model_fields.keys()
    explained = meanings(name, {})
    assert [key for key in flat(composed(name, [])[0]) if is_for_users(key) and not explained.get(key)] == []
    settings = yaml.safe_load((REPOSITORY / "conf" / f"{name}.yaml").read_text())["hydra"]
    assert settings["job"]["name"] == name
    assert f"python {name}.py" in settings["help"]["template"]


def test_console_commands_are_those_of_the_table() -> None:
    installed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert "gpt-train" in installed
    assert (
        installed.items()
        <= ({f"gpt-{name}": f"gpt.__main__:{name}" for name in COMMANDS} | {"gpt": "gpt.__main__:main"}).items()
    )
    with pytest.raises(ImportError, match="nothing"):
        from gpt.__main__ import nothing  # noqa: F401


def test_the_docs_show_completion_that_works() -> None:
    """The line of docs/using.md, in a bash, and what a Tab gives then."""
    (line,) = (part for part in (REPOSITORY / "docs" / "using.md").read_text().split("`") if "-sc install=bash" in part)
    tab = (
        'COMP_LINE="python train.py optimizer=m"; COMP_WORDS=(python train.py optimizer=m); COMP_CWORD=2; '
        'COMP_POINT=${#COMP_LINE}; hydra_bash_completion; echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{line}\n{tab}"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["optimizer=muon", "optimizer=muon_decay"]
