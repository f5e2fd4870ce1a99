"""A translator as a user runs it: trained, measured and asked with the command line."""

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


def test_copying_is_learnt_and_measured(script: Script, translator: Path) -> None:
    done = script("evaluate.py", "beam=2", cwd=translator)
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in done.stdout, done.stderr
    (right,) = [float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("exact matches")]
    assert right >= 99, done.stdout


def test_a_prompt_or_a_file_is_translated_line_by_line(script: Script, translator: Path) -> None:
    (translator / "lines.txt").write_text("\ufeffa b c\nd e\n")
    for argument, expected in (("prompt=a b c", "a b c\n"), ("prompt_file=lines.txt", "a b c\nd e\n")):
        done = script("generate.py", argument, cwd=translator)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_a_bad_line_of_standard_input_costs_that_line_only(translator: Path) -> None:
    content = b"\xef\xbb\xbfa b c\na \xff\n\n" + "d e á".encode()
    arguments = [str(REPOSITORY / "generate.py"), "beam=1"]
    done = Forked(arguments, translator, standard_input=content).finished()
    assert (done.returncode, done.stdout) == (0, "a b c\n\n\nd e\n"), done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("warning")] == [
        "warning: line 2 is not UTF-8: its translation is left empty",
        "warning: line 4: the character 'á' (U+00E1) is not in the vocabulary: left out",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train.py", "model=transformer", "data=text", "data.path=/nowhere"],
            "data=text does not fit a stage that translates: it needs pairs, such as data=multi30k",
        ),
        (
            ["train.py", "model=v5", "data=copy"],
            "data=copy does not fit a stage that continues a text: it needs a text",
        ),
        (["train.py", "model=transformer", "data=parallel"], "data.source is required"),
        (["generate.py", "prompt=" + "a " * 5000], "the prompt is empty"),
        (["generate.py", "beam=0"], "beam=0"),
        (["generate.py", "temperature=0.5"], "temperature is for a run that continues a text, but this one translates"),
        (["generate.py", "prompt=日本"], "characters '日' (U+65E5) and '本' (U+672C) are not in the vocabulary"),
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
