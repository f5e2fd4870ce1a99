"""What users type by instinct: words without a key, quotes, lists, other names for a key."""

import importlib
import inspect
import os
import re
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
from gpt.base import console
from gpt.base.commands import COMMANDS
from gpt.config.command import Command
from gpt.config.composing import compose, content_of, own_hydra
from gpt.config.conf import is_for_users, meanings
from gpt.config.fields import fields_of
from gpt.config.keys import flat
from gpt.config.reading import read
from gpt.config.settings import settings_of
from gpt.data import corpora
from tests.conftest import REPOSITORY, Script, refused, succeeded
from tests.extras import require_extra


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a run, whose name has a space, in a folder of runs; others; a text; and a stage of one's own."""
    run = tmp_path / "my runs" / "a run"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    (tmp_path / "text.txt").write_text("a text")
    (tmp_path / "own.yaml").write_text("seed: 7")
    (tmp_path / "config.py").touch()
    for name in ("run", "tags", "stage"):  # as keys are called
        shutil.copytree(run, tmp_path / name)
    (tmp_path / "own" / "model").mkdir(parents=True)
    shutil.copy(REPOSITORY / "conf" / "model" / "v2.yaml", tmp_path / "own" / "model" / "mine.yaml")
    return tmp_path


PLAIN = [
    ("train.py --config-dir own mine", "model", "mine"), ("train.py own.yaml v4", "seed", 7),
    ("train.py seed=2 v5", "model", "v5"), ("train.py v5 ++lr=0.1", "training.learning_rate", 0.1),
    ("generate.py stage 5", "prompt", "5"), ("generate.py run=stage 'To be'", "prompt", "To be"),
    ("generate.py 'run=\"./a b\"'", "run", "./a b"), ("generate.py 'my runs/a run'", "run", "my runs/a run"),
    ("evaluate.py run text.txt", "text", "text.txt"), ("evaluate.py text.txt run", "run", "run"),
    ("evaluate.py 'To be\\nor not' run", "text", "To be\nor not"),
    ("generate.py 'To be/or not'", "prompt", "To be/or not"),
    ("evaluate.py run '-To be or'", "text", "-To be or"), ("generate.py --prompt -RO", "prompt", "-RO"),
    ("generate.py ROMEO: run", "prompt", "ROMEO:"), ("play.py 'my runs' run", "runs", "my runs,run"),
    ("compare.py 'my runs' runs/x", "runs", "my runs,runs/x"), ("export.py run onnx", "format", "onnx"),
    ("search.py n_trials=1e1", "n_trials", 10), ("train.py name=1e-3", "name", "1e-3"),
    ("train.py name=true", "name", "true"), ("train.py name=null", "name", None),
    ("generate.py max_tokens=3 run", "tokens", 3), ("train.py v4 layers=2 lr=1e-2", "model.n_layer", 2),
    (r"generate.py prompt='a\tb\\nc\d'", "prompt", "a\tb\\nc\\d"),
    ("gpt/__main__.py name run y", "name", "y"), ("gpt/__main__.py tag run tags golden", "tags", ["tags", "golden"]),
    ("gpt/__main__.py tag run golden -wide", "tags", ["golden", "-wide"]),
    ("train.py logger=null experiment=null debug=null metrics=null v5", "experiment", "null"),
    # With dashes.
    ("train.py --compile v5 --n-layer=2 --lr 3e-4", "training.learning_rate", 3e-4),
    ("train.py --n_layer 2 --compile=False --model v5", "model.n_layer", 2),
    ("train.py --training.learning-rate 1e-2 --quiet v5", "model", "v5"),
    ("generate.py --run=run --prompt='--a=b'", "prompt", "--a=b"), ("generate.py --run run -5", "prompt", "-5"),
    ("evaluate.py --text text.txt --json", "text", "text.txt"), ("compare.py --by lr stage", "by", "lr"),
    ("search.py --n-trials 5 v4 --lr=1e-3", "n_trials", 5), ("export.py --format onnx --run run", "format", "onnx"),
    ("play.py --port=0 run", "port", 0), ("gpt/__main__.py runs --since 7d", "since", "7d"),
    # In the words of other programs.
    ("train.py device=gpu amp=true", "dtype", "bfloat16"), ("generate.py --device gpu", "device", "cuda"),
    ("train.py wandb_log=False init_from=resume", "resume", "auto"), ("export.py format=safetensors", "format", "hub"),
    (f"train.py experiment={REPOSITORY}/conf/experiment/v7_cpu.yaml", "experiment", "v7_cpu"),
    ("train.py experiment=own.yaml", "seed", 7), ("train.py --config own.yaml seed=8", "seed", 8),
]  # fmt: skip


CORPORA = {
    "text.txt": "text.txt",
    "data=text.txt": "text.txt",
    "data=text.txt v1": "text.txt",
    "v4 layers=2 corpus=text.txt": "text.txt",
    "data.path=text.txt": "text.txt",
    "text.txt field=review": "text.txt",
    "data=folder": "folder",
    "v4 folder": "folder",
    "data=folder/": "folder/",
    "data=*.txt": "*.txt",
    "data=[text.txt,folder]": "[text.txt,folder]",
    "data=someone/rows": "",
    "data=someone/rows-v1.2 v1": "",
}


@pytest.mark.parametrize(("typed", "path"), CORPORA.items())
def test_a_file_folder_or_name_is_a_corpus(
    typed: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("To be")
    (tmp_path / "folder").mkdir()
    found = read("train", typed.split()).settings
    assert {key: value for key, value in found.items() if key in ("data", "data.path", "data.name")} == (
        {"data": "text", "data.path": path}
        if path
        else {"data": "huggingface", "data.name": typed.split()[0].removeprefix("data=")}
    )
    assert "field" not in found


def settings(typed: str) -> dict[str, object]:
    """What a command line sets, by full key: the choices, and the values that it composes."""
    script, *words = shlex.split(typed)
    name = words.pop(0) if script == "gpt/__main__.py" else Path(script).stem
    command = read(name, words)
    own = {} if name == "train" else flat(settings_of(command).model_dump(by_alias=True))
    of_training = {key: value for key, value in command.settings.items() if key not in own}
    composed = (
        flat(content_of(Command("train", of_training, command.options))) if "model" in COMMANDS[name].words else {}
    )
    return composed | own | {key: value for key, value in command.settings.items() if key not in composed | own}


@pytest.mark.parametrize(("typed", "key", "value"), PLAIN, ids=[typed for typed, *_ in PLAIN])
def test_plain_words_become_keys(
    typed: str, key: str, value: object, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert settings(typed)[key] == value


def test_the_keys_are_composed(called: Script, place: Path) -> None:
    typed = "v5 own.yaml --n_layer 2 --compile=False --lr 1e-2 name=1e-3 metrics=null amp=true"
    done = succeeded(called("train.py", *typed.split(), "--cfg", "job", "--resolve", cwd=place))
    found = yaml.safe_load(done.stdout)
    assert (found["stage"], found["seed"], found["name"], found["metrics"]) == ("v5", 7, "1e-3", {})
    assert (found["compile"], found["dtype"]) == (False, "bfloat16")
    assert (found["model"]["n_layer"], found["training"]["learning_rate"]) == (2, 0.01)


WRONG = [
    # A choice, a key or a value that does not exist.
    ("train.py model=V5", "model=v5"),
    ("train.py data=café.txt", "café.txt"),
    ("train.py data=sub/a.txt", "sub/a.txt"),
    ("train.py training.max_iter=5", "training.max_iters"),
    ("train.py -p training -c job --config-path=/CONF modle=v2", "model"),
    ("train.py presence=1", "presence"),
    ("train.py model=v1 model.n_layer=4", "n_layer"),
    ("train.py model=transformer data=shakespeare", "data=shakespeare"),
    ("generate.py stage=../v6", "stage=../v6"),
    ("train.py seed=1,2", "seed=1,2"),
    ("train.py -m hydra/sweeper=optuna", "hydra/sweeper=optuna"),
    ("train.py model=null", "model=null"),
    ("train.py -m data=null,copy", "data=null"),
    ("train.py model=[1]", "model=[1]"),
    ("train.py seed=[1", "seed=[1"),
    ("train.py seed=${nothing}", "nothing"),
    ("train.py training.epochs=2 training.max_iters=9", "training.epochs"),
    ("train.py -m training.epochs=null,2 training.max_iters=9", "training.epochs=2"),
    ("search.py training.epochs=1,2 training.max_iters=9", "training.epochs"),
    ("search.py training.epochs=2 training.max_iters=range(1,9)", "training.epochs"),
    ("train.py training.learning_rate=interval(1e-4,1e-2)", "interval"),
    # What is deleted.
    ("search.py ~training.grad_clip seed=1,2", "training.grad_clip"),
    ("train.py ~logger", "logger"),
    ("train.py ~seed", "seed"),
    # What is missing.
    ("train.py data=text", "data.path"),
    ("train.py ~model", "model"),
    ("train.py hydra.run.dir=???", "hydra.run.dir"),
    ("train.py -m seed=1,2 ++hydra.run.dir=a", "hydra.sweep.dir"),
    ("train.py experiment=heads hydra.run.dir=a", "hydra.sweep.dir"),
    ("search.py seed=1 model=v1,v2 hydra.run.dir=a", "study=FOLDER"),
    ("train.py --config-dir", "--config-dir"),
    ("generate.py -m=2", "key m"),
    ("train.py -m --cfg job seed=1,2", "--cfg"),
    ("generate.py prompt=a prompt_file=b", "prompt_file"),
    ("train.py data=text data.path=~/no", "/home of/no"),
    ("train.py 'resume=\"~/no\"'", "resume=/home of/no"),
    ("compare.py 'runs=[~/no,\"./b, c\"]'", "/home of/no, b, c"),
    ("evaluate.py model=v5", "model=v5"),
    ("train.py data=text data.path=caf\udce9.txt", r"caf\udce9.txt"),
    # What is long.
    ("gpt/__main__.py tag 'my runs/a run' " + 500 * "a", "aaa..."),
    ("train.py tags=[b," + 500 * "a" + "]", "aaa..."),
    # Words without a key, other programs' words, and options.
    ("train.py v55", "model=v5?"),
    ("train.py v5 v6", "'v6'"),
    ("train.py v5 no.txt", "'no.txt'"),
    ("generate.py run To be", "'be'"),
    ("train.py text.txt data.path=other.txt", "'text.txt'"),
    ("evaluate.py no", "text=no"),
    ("evaluate.py no.txt text=a", "no.txt"),
    ("gpt/__main__.py tag no golden", "folder no"),
    ("train.py v4 iters=5 training.max_iters=3", "training.max_iters"),
    ("search.py v1,v2 training.seconds=5min iters=1", "training.seconds"),
    ("train.py v4 minutes=5", "training.seconds=5min"),
    ("train.py v1 fo=1 --cfg job training.lr=3", "key fo"),
    ("train.py file=a.txt", "data=a.txt"),
    ("train.py v1 file=0", "data=0"),
    ("train.py v1 text=false", "data=false"),
    ("train.py config.py", "model=config.py"),
    ("train.py v1 dropout=0.1", "dropout"),
    ("train.py -m n_jobs=2 seed=1,2", "hydra.launcher.n_jobs=2"),
    ("train.py eval_interval=0.5", "training.eval_interval=0.5"),
    ("train.py --gpus 2", "device=cuda"),
    ("train.py --lr --seed 5", "--lr"),
    ("train.py --hlep", "--help?"),
    ("generate.py --nonsense", "nonsense"),
    ("gpt/__main__.py delete run", "delete"),
]


@pytest.mark.parametrize(("typed", "word"), WRONG, ids=[typed for typed, _ in WRONG])
def test_wrong_words_are_refused_in_one_line(typed: str, word: str, called: Script, place: Path) -> None:
    if typed.startswith("search.py"):
        require_extra("search")
    before = sorted(place.rglob("*"))
    name, *arguments = shlex.split(typed.replace("/CONF", str(REPOSITORY / "conf")))
    refused(called(name, *arguments, cwd=place, HOME="/home of"), word)
    assert sorted(place.rglob("*")) == before


MEANT = [
    "train.py v1 batchsize=4",
    "train.py v1 max_iter=3",
    "train.py v1 num_epoch=1",
    "train.py v1 text=text.txt",
    "train.py v1 cuda=2",
    "train.py v1 use_wandb=yes",
    "train.py model=V5",
    "train.py v1 optimizer=adam",
    "train.py v1 schedule=cosin",
    "generate.py temprature=1",
    "compare.py sort=val",
    "evaluate.py splt=val",
    "export.py fromat=onnx",
    "play.py prt=0",
]


@pytest.mark.parametrize("typed", MEANT)
def test_advice_leads_to_a_command_without_that_fault(typed: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    script, *words = shlex.split(typed)
    said = fault(script, words)
    if (found := re.search(r"did you mean (.+?)\?", said)) is None:
        assert said == "", said  # other programs' names of keys are taken as they are
        return
    advice = shlex.split(found[1])
    wrong = next(i for i, word in enumerate(words) if word.partition("=")[0] in said)
    meant = advice if "=" in advice[0] else [f"{advice[0]}={words[wrong].partition('=')[2]}"]
    words[wrong : wrong + 1] = meant
    assert fault(script, words) == "", meant


def fault(script: str, words: list[str]) -> str:
    """What is wrong with a command line; "" if it can be composed."""
    name = Path(script).stem
    try:
        command = read(name, words)
        compose(command) if name == "train" else settings_of(command)
    except gpt.UserError as error:
        return str(error)
    return ""


def test_a_shell_passes_escapes_and_newlines_on(called: Script, place: Path) -> None:
    documented = "'\"\\n\\n\"'"
    assert f" data.separator={documented}\n" in (REPOSITORY / "docs" / "corpora.md").read_text()
    for written in (documented, r'"\\n\n"', "$'\\n\\n'"):
        typed = subprocess.check_output(["bash", "-c", f"printf %s data.separator={written}"], text=True)
        done = called("train.py", "data=text", "data.path=x", typed, "--cfg", "job", cwd=place)
        assert yaml.safe_load(done.stdout)["data"]["separator"] == "\n\n"


@pytest.mark.slow
def test_a_sweep_reads_texts_and_homes_as_one_run_does(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    corpus = f"data.path='{corpus_file}'"
    short = ["training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1"]
    swept = ["data.separator='\\n',\\\\n", "name=1e-3", "hydra.sweep.dir=~/sweep", "-m"]  # \n, and \\n for \n
    succeeded(called("train.py", "v1", *short, "data=text", corpus, *swept, cwd=tmp_path, HOME=str(tmp_path / "home")))
    runs = [tmp_path / "home" / "sweep" / f"{number:03d}_v1_1e-3_{number + 1}_seed1337" for number in (0, 1)]
    read = [yaml.safe_load((run / "config.yaml").read_text())["data"]["separator"] for run in runs]
    assert read == ["\n", "\\n"]
    succeeded(called("train.py", f"resume={runs[1]}", "training.max_iters=2", cwd=tmp_path))
    assert yaml.safe_load((runs[1] / "config.yaml").read_text())["data"]["separator"] == "\\n"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_value_of_python_has_no_escapes_and_the_same_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home of")
    monkeypatch.setenv("GPT_DATA_DIR", "~/data")
    config = compose(read("train", ["data=text", "data.path=x", "runs=~/runs"], {"separator": r"\n"}))
    assert (config.data.hyperparameters["separator"], config.runs) == (r"\n", "/home of/runs")
    assert corpora._prepared() == Path("/home of/data/prepared")
    with pytest.raises(gpt.UserError, match="/home of/no/"):
        gpt.load("~/no")


def test_composing_alone_leaves_a_running_hydra_as_it_was() -> None:
    with own_hydra():
        running = GlobalHydra.instance().hydra
        compose(read("train", []))
        assert GlobalHydra.instance().hydra is running


def test_the_package_says_what_there_is() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "gpt"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    listed = [line[:20].strip() for line in done.stdout.splitlines() if line.startswith("python ")]
    assert listed == [*map(console.command, COMMANDS)]
    assert {"python train.py", "python -m gpt runs"} <= {*listed}
    assert not {"torch", "hydra"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_the_package_takes_the_name_of_a_command(called: Script, tmp_path: Path) -> None:
    """As its console command does."""
    installed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert installed == {"gpt": "gpt.__main__:main"}
    for arguments in (["--version"], ["train", "--version"]):
        assert called("gpt/__main__.py", *arguments, cwd=tmp_path).stdout == f"gpt-ladder {gpt.__version__}\n"
    refused(called("gpt/__main__.py", "nonsense", cwd=tmp_path), "nonsense")


@pytest.mark.slow
def test_a_python_too_new_for_hydra_is_refused() -> None:
    without_hydra = "sys.modules['hydra'], sys.version_info = None, (3, 14, 0, 'final', 0)"  # importing it is an error
    run = f"runpy.run_path({str(REPOSITORY / 'compare.py')!r}, run_name='__main__')"
    code = f"import runpy, sys; {without_hydra}; {run}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: ")
    assert "3.14" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_script_a_schema_and_explained_keys(name: str) -> None:
    command = COMMANDS[name]
    code = f'    main("{name}")  # its code: {command.module.replace(".", "/")}.py\n'
    script = REPOSITORY / f"{name}.py"
    assert code in script.read_text() if command.is_script else not script.exists()
    function = getattr(importlib.import_module(command.module), command.function)
    assert inspect.signature(function).parameters["config"].annotation is command.load_schema()
    assert {*command.words} - {"model", "data.path"} <= command.load_schema().model_fields.keys()
    if name == "train":
        explained = meanings({})
        assert [key for key in flat(content_of(read(name, []))) if is_for_users(key) and not explained.get(key)] == []
        return
    fields = fields_of(command.load_schema())
    assert [key for key, field in fields.items() if not field.description and key != "data"] == []
    assert console.command(name) in (inspect.getdoc(command.load_schema()) or "")


@pytest.mark.slow
def test_the_docs_show_completion_that_works() -> None:
    """The line of docs/using.md, in a bash, and what a Tab gives then."""
    (line,) = (part for part in (REPOSITORY / "docs" / "using.md").read_text().split("`") if "-sc install=bash" in part)
    tab = (
        'COMP_LINE="python train.py optimizer=m"; COMP_WORDS=(python train.py optimizer=m); COMP_CWORD=2; '
        'COMP_POINT=${#COMP_LINE}; hydra_bash_completion; echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    offered = subprocess.check_output(["bash", "-c", f"{line}\n{tab}"], cwd=REPOSITORY, env=environment, text=True)
    assert offered.split() == ["optimizer=muon", "optimizer=muon_decay"]
