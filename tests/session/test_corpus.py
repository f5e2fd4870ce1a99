"""python -m gpt data: what a training would see, and the losses to beat."""

import math
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Script, succeeded


def _table(output: str) -> dict[str, list[str]]:
    """The rows of the tables, by name."""
    rows = (line.rsplit(maxsplit=2) for line in output.splitlines() if line[:1].isalpha())
    return {row[0].strip(): row[1:] for row in rows if len(row) == 3}


def test_it_shows_what_a_training_would_see(called: Script, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Größe\t\x1b[1m\n" + "To be, or\nnot.\n" * 19)
    shown = succeeded(called("gpt/__main__.py", "data", "text.txt", cwd=tmp_path)).stdout
    rows = _table(shown)
    total = 11 + 19 * 15
    assert rows["characters"] == [str(int(0.9 * total)), str(total - int(0.9 * total))]
    assert sum(map(int, rows["bytes"])) == total + 2
    assert sum(map(int, rows["lines"])) == 39
    assert rows["documents"] == ["1", "1"]
    first = shown.partition("first lines:\n")[2].splitlines()
    assert first[:2] == ['  "Größe\\t\\u001b[1m"', '  "To be, or"']


def test_its_losses_are_those_of_counts(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    rows = _table(succeeded(called("gpt/__main__.py", "data", str(corpus_file), cwd=tmp_path)).stdout)
    text = corpus_file.read_text()
    train, val = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    counts, V = Counter(train), len(set(text))
    frequencies = -sum(math.log((counts[c] + 1) / (len(train) + V)) for c in val[1:]) / len(val[1:])
    bits = {name: float(row[-1]) for name, row in rows.items() if name.startswith(("a uniform", "frequencies"))}
    uniform, single, pairs = bits.values()
    assert uniform == pytest.approx(math.log2(V), abs=1e-4)
    assert single == pytest.approx(frequencies / math.log(2), abs=1e-3)
    assert pairs < single < uniform


@pytest.mark.parametrize("words", [["reviews.csv", "field=review"], ["folder"]])
def test_rows_of_a_table_are_documents(words: list[str], called: Script, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("reviews.csv", "folder/a.csv"):
        column = "text" if "/" in name else "review"
        (tmp_path / name).write_text(f"title,{column}\n" + "".join(f"film {i},was film {i} good\n" for i in range(20)))
    rows = _table(succeeded(called("gpt/__main__.py", "data", *words, cwd=tmp_path)).stdout)
    assert sum(map(int, rows["documents"])) == 20
