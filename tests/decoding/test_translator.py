"""A translator as a user runs it: trained, measured and asked with the command line."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Script
from tests.forked import Forked


@pytest.fixture(scope="module")
def translator(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which copying was learnt with the command line."""
    folder = tmp_path_factory.mktemp("translator")
    done = script(
        "train.py", "experiment=copy", "data.length=6", "data.size=4000", "training.max_iters=400",
        "schedule.warmup_iters=100", "model.n_layer=1", "model.n_embd=64", "model.dropout=0.0", "device=cpu",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "output" in done.stdout
    return folder


def generate(folder: Path, standard_input: bytes) -> subprocess.CompletedProcess:
    return Forked([str(REPOSITORY / "generate.py")], folder, standard_input=standard_input).finished()


def test_copying_is_learnt_and_measured(script: Script, translator: Path) -> None:
    done = script("evaluate.py", "beam=2", cwd=translator)
    assert done.returncode == 0, done.stderr
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in done.stdout
    (right,) = [float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("exact matches")]
    assert right >= 99, done.stdout


def test_a_prompt_or_a_file_is_translated_line_by_line(script: Script, translator: Path) -> None:
    (translator / "lines.txt").write_text("a b c\nd e\n")
    for argument, expected in (("prompt=a b c", "a b c\n"), ("prompt_file=lines.txt", "a b c\nd e\n")):
        done = script("generate.py", argument, cwd=translator)
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected


def test_standard_input_is_translated_line_by_line(translator: Path) -> None:
    done = generate(translator, b"a b c\n\nd e")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a b c", "", "d e"]
    done = generate(translator, b"a b\n\xff\xfe\n")
    assert done.returncode == 2
    assert "error: line 2 of standard input is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_byte_order_mark_is_stripped_from_what_is_translated(script: Script, translator: Path) -> None:
    bom = b"\xef\xbb\xbf"
    done = generate(translator, bom + b"a b c\nd e\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a b c\nd e\n"
    (translator / "marked.txt").write_bytes(bom + b"a b c\n")
    done = script("generate.py", "prompt_file=marked.txt", cwd=translator)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a b c\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train.py", "model=transformer", "data=shakespeare"],
            "data=shakespeare does not fit a stage that translates: it needs pairs, such as data=multi30k",
        ),
        (
            ["train.py", "model=v5", "data=copy"],
            "data=copy does not fit a stage that continues a text: it needs a text",
        ),
        (["train.py", "model=transformer", "data=parallel"], "data.source is required"),
        (["generate.py", "prompt=" + "a " * 5000], "a sentence has 5,002 subwords, the model takes 128"),
        (["generate.py", "beam=0"], "beam=0"),
        (["generate.py", "temperature=0.5"], "temperature is for a run that continues a text, but this one translates"),
        (["generate.py", "prompt=日本"], "the character '日' (U+65E5) is not in the vocabulary"),
        (["generate.py", "prompt= "], "the prompt is empty"),
        (["evaluate.py", "split=dev"], "split=dev"),
        (["evaluate.py", "text=README.md"], "text is for a run that continues a text, but this one translates"),
    ],
)
def test_a_request_that_cannot_be_met_ends_in_one_line(
    script: Script, translator: Path, arguments: list[str], message: str
) -> None:
    done = script(*arguments, cwd=translator)
    assert done.returncode == 2
    assert message in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stderr


def test_a_run_without_its_tokenizer_is_named(script: Script, translator: Path) -> None:
    (run,) = (translator / "runs").glob("*/*")
    tokenizer = run / "tokenizer.json"
    content = tokenizer.read_bytes()
    tokenizer.unlink()
    done = script("generate.py", "prompt=a b", cwd=translator)
    tokenizer.write_bytes(content)
    assert done.returncode == 1
    assert "tokenizer.json is missing" in done.stderr
