"""`python -m exercises`, `check` in a notebook, and training what was solved."""

import contextlib
import io
import linecache
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import exercises
import exercises.__main__
import gpt
from exercises import check
from exercises.checks import EXERCISES, solved
from gpt.base.errors import RequestError
from tests.conftest import REPOSITORY
from tests.exercises.test_exercises import blank, changed
from tests.exercises.test_exercises import solved as solution

Exercises = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A learner's copy of the blanks, which is imported instead of the repository's."""
    for name in EXERCISES:
        shutil.copy(REPOSITORY / "exercises" / f"{name}.py", tmp_path)
        monkeypatch.delitem(sys.modules, f"exercises.{name}", raising=False)
    monkeypatch.setattr(exercises, "__path__", [str(tmp_path), *exercises.__path__])
    monkeypatch.setattr(exercises.__main__, "_HINTS", tmp_path / ".hints")
    yield tmp_path
    for name in EXERCISES:
        sys.modules.pop(f"exercises.{name}", None)


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Exercises:
    """`python -m exercises ...` in this process: the exit code and the output."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["exercises", *arguments])
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = exercises.__main__.main()
        return code, said.getvalue()

    return run


def test_a_class_of_students_has_a_line_each(command: Exercises, tmp_path: Path) -> None:
    files = {
        "ada.py": solution("v5"),
        "bob.py": solution("v5").replace("attended = x + ", "attended = "),
        "joe.py": blank("v5"),
        "sue.py": "x = (",
    }
    for name, content in files.items():
        (tmp_path / "students" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "students" / name).write_text(content)
    code, said = command("v5", str(tmp_path / "students"))
    lines = dict(line.split("  ", 1) for line in said.splitlines())
    assert (code, lines["ada.py"]) == (1, "right")
    assert "still to fill in" in lines["joe.py"]
    assert "was never closed" in lines["sue.py"]
    assert lines["bob.py"] != "right"
    assert command("v5", str(tmp_path / "students" / "ada.py"))[0] == 0
    code, said = command("v5", "nowhere.py")
    assert (code, said.count("\n"), "nowhere.py" in said) == (2, 1, True)


def test_a_solution_that_does_not_end_is_stopped(
    command: Exercises, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "students").mkdir()
    (tmp_path / "students" / "eve.py").write_text("while True: pass")
    monkeypatch.setattr(exercises.__main__, "_SECONDS", 2)
    code, said = command("v5", str(tmp_path / "students"))
    assert (code, said.splitlines()[0].split("  ", 1)) == (1, ["eve.py", "it did not end in 2 s"])


def test_the_exercises_are_listed_with_their_states_and_checked(command: Exercises, folder: Path) -> None:
    (folder / "v2.py").write_text(solution("v2"))
    (folder / "v5.py").write_text(solution("v5").replace("attended = x + ", "attended = "))
    code, said = command()
    states = {line[:10].strip(): line[10:32].strip() for line in said.splitlines()}
    assert (code, states) == (0, dict.fromkeys(EXERCISES, "blanks left") | {"v2": "right", "v5": "not right yet"})
    code, said = command("v2")
    assert (code, said.startswith("Head: all right\n")) == (0, True)
    code, said = command("v9")
    assert (code, "v9" in said) == (2, True)


def test_hints_say_more_each_time_about_the_first_wrong_step(command: Exercises, folder: Path) -> None:
    said = [command("v2", "--hint")[1] for _ in range(4)]
    assert len(said[0]) < len(said[1]) < len(said[2])
    assert "hint 3 of 3 (Head, scores)" in said[2]
    assert said[3] == f"{said[2]}There is no further hint.\n"
    text = (folder / "v2.py").read_text()
    (folder / "v2.py").write_text(text.replace("scores = BLANK", "scores = q @ k.mT / D**0.5"))
    assert "hint 2 of 3" not in command("v2", "--hint")[1]
    assert "hint 2 of 3 (Head, masked)" in command("v2", "--hint")[1]


def test_a_file_that_does_not_run_gets_one_line(command: Exercises, folder: Path) -> None:
    for source, said in {
        "def count_pairs(ids, vocab_size)\n    pass\n": "v1.py: line 1, `def count_pairs(ids, vocab_size)`: expected",
        "import torch\n\nzeros = troch.zeros(3)\n": "v1.py: line 3, `zeros = troch.zeros(3)`: NameError: name 'troch'",
        "import torch\n": "count_pairs: exercises/v1.py has no count_pairs any more",
        "count_pairs = probabilities = loss = 3\n": "count_pairs: this must be a class or function of your own",
    }.items():
        (folder / "v1.py").write_text(source)
        code, answer = command("v1")
        assert (code, said in answer, "Traceback" in answer) == (1, True, False), answer
        assert len(answer.splitlines()) <= 5
        assert command()[0] == 0  # the list still works


MISTAKES = {  # each of which once ended the list
    "v4": ("self.linear = nn.Linear", "self.net = nn.Conv1d"),
    "v6": ("self.weight = nn.Parameter(torch.ones(n_embd))", ""),
    "v5": ("self.attention = MultiHeadAttention(n_embd, n_head)", "raise SystemExit"),
    "v2": ("return weights @ v", "return self.forward(x)"),
    "softmax": ("import torch\n", "import torch\nexit()\n"),
    "v7": ("return x * keep", "return x.to('meta') * keep.to('meta')"),
}


def test_no_mistake_ends_the_list(command: Exercises, folder: Path) -> None:
    for name, (before, after) in MISTAKES.items():
        (folder / f"{name}.py").write_text(changed(solution(name), (before, after)))
    code, said = command()
    assert (code, len(said.splitlines())) == (0, len(EXERCISES)), said
    for name in MISTAKES:
        code, said = command(name)
        assert (code, "Traceback" in said) == (1, False), said


def test_it_is_a_command() -> None:
    for words in (["-m", "exercises", "softmax"], ["exercises/softmax.py"]):
        done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith("softmax: lines 14, 15, 16 still to fill in\ncross_entropy: lines 21, 22, 23 sti")


def test_a_notebook_checks_what_it_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks keep the lines of a cell in `linecache`. In an exercise of a single part, any name will do."""
    cell = solution("v2").partition("class GPT")[0].replace("Head", "MyHead").replace(".triu(diagonal=1)", ".triu()")
    monkeypatch.setitem(linecache.cache, "<cell>", (len(cell), None, cell.splitlines(keepends=True), "<cell>"))
    names: dict = {"__name__": "__main__"}
    exec(compile(cell, "<cell>", "exec"), names)
    report = check("v2", names["MyHead"])
    assert repr(report).startswith("Head: the scores are right; the mask hides a position from itself")
    assert "j > t" in report.hint(2)

    cell = blank("softmax")
    monkeypatch.setitem(linecache.cache, "<other>", (len(cell), None, cell.splitlines(keepends=True), "<other>"))
    exec(compile(cell, "<other>", "exec"), names)
    assert repr(check("softmax", names["softmax"])) == "softmax: lines 14, 15, 16 still to fill in"
    with pytest.raises(RequestError, match="MyHead"):
        check("softmax", names["MyHead"])
    with pytest.raises(RequestError, match="v8"):
        check("v8")


@pytest.mark.parametrize("name", ["v3", "v5", "v7"])
def test_a_solved_stage_learns_like_the_project_s(
    name: str, folder: Path, corpus_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same losses from the same seed; v7 draws its own masks."""
    (folder / f"{name}.py").write_text(solution(name))
    small = [
        "data=text",
        f"data.path={corpus_file}",
        "training.max_iters=4",
        "training.eval_interval=2",
        "training.eval_iters=2",
        "training.batch_size=4",
        "compile=false",
        "device=cpu",
    ]
    if name == "v7":
        small += ["model.block_size=8", "model.n_embd=32", "model.n_head=4", "model.n_layer=2", "model.dropout=0"]
    trained = []
    monkeypatch.setattr(
        solved.gpt, "train", lambda *a, train=gpt.train, **k: trained.append(train(*a, **k)) or trained[-1]
    )
    said = solved.train(name, *small)
    own = gpt.train(f"model={name}", *small)
    losses = [[(e.train, e.val) for e in run.evaluations] for run in (trained[0], own)]
    for one, other in zip(*losses, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    found = re.search(r"per character: ([\d.]+)   \(documented: (.+)\)\n.*exact: ([\d.]+)\n", said)
    assert found is not None
    reached = [own.summary.estimated.val.nats, own.summary.exact.nats]
    assert [float(found[1]), float(found[3])] == pytest.approx(reached, abs=2e-4)
    assert found[2] == f"{own.documented.val or 'none'}"
    if name != "v7":  # which rounds differently on some processors, and a text takes another turn
        assert own.generate(tokens=200) in said


def test_only_a_solved_stage_can_be_trained(command: Exercises, folder: Path) -> None:
    (folder / "softmax.py").write_text(solution("softmax"))
    for name, expected, why in (("softmax", 2, "softmax"), ("v2", 1, "still to fill in")):
        code, said = command(name, "--train")
        assert (code, why in said) == (expected, True)
