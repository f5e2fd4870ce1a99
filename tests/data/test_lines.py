"""Lines and documents: each is predicted from its own characters, and only answers are targets."""

import csv
import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.base.errors import RequestError
from gpt.data.batch import IGNORED
from gpt.data.corpora import text as text_of
from gpt.data.lines import LineData, documents, questions, recall, repeat
from gpt.data.tokenizers import built_for
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.training.metrics import accuracy
from tests.conftest import Script, refused, succeeded
from tests.extras import require_extra


def test_lines_recall_a_digit_or_repeat_letters() -> None:
    corpus = recall(pairs=3, distance=5, size=100)
    assert (corpus.train.count("\n"), corpus.val.count("\n")) == (90, 10)
    assert set(corpus.characters) == set(corpus.train + corpus.val)
    asked = set()
    for line in (corpus.train + corpus.val).splitlines():
        told, pause, (letter, digit) = line[:6], line[6:11], line[11:]
        assert pause == "....."
        assert told[told.index(letter) + 1] == digit
        asked.add(told.index(letter))
    assert asked == {0, 2, 4}
    assert len(set(corpus.train.splitlines())) == 90
    corpus = repeat(length=4, distance=3, size=100)
    for line in (corpus.train + corpus.val).splitlines():
        assert (line[:4], line[4:8]) == (line[8:], "...:")
    with pytest.raises(RequestError, match=r"data\.size"):  # before they are made
        recall(pairs=26, distance=10_000, size=200_000)


def test_only_the_answers_are_targets() -> None:
    corpus = repeat(length=2, distance=1, size=100)
    tokenizer = CharTokenizer(corpus.characters)
    data = LineData(corpus, tokenizer, block_size=9, device="cpu")
    batch, again = (data.training_batch(seed=1, iteration=3, batch_size=4) for _ in range(2))
    assert torch.equal(batch.targets, again.targets)
    assert batch.tokens == (batch.targets != IGNORED).sum() == 8
    for inputs, targets in zip(batch.inputs[0], batch.targets, strict=True):
        line = tokenizer.decode(inputs)
        assert (line[:2], len(line)) == (tokenizer.decode(targets[-2:]), 5)
        assert line + line[1] in corpus.train
    whole = data.every_target_once("val", tokens_per_pass=17)
    rows = [row for part in whole for row in part.inputs[0]]
    assert [tokenizer.decode(row) for row in rows] == [line[:-1] for line in corpus.val.splitlines()]
    assert (whole.count, whole.of) == (20, 20)
    sample = data.every_target_once("val", tokens_per_pass=17, most=7)
    found = [tokenizer.decode(row) for part in sample for row in part.inputs[0]]
    assert found == [line[:-1] for line in corpus.val.splitlines()[:9:3]]  # spread evenly over ten lines
    assert (sample.count, sample.of) == (6, 20)
    assert data.epoch_tokens == 2 * 90


def test_the_share_that_is_solved_is_recorded(called: Script, tmp_path: Path) -> None:
    lines = ["model=v2", "data=recall", "data.pairs=1", "data.distance=0", "data.size=200", "metrics=accuracy"]
    short = ["training.max_iters=2", "training.eval_interval=2", "training.eval_iters=3", "hydra.run.dir=run"]
    succeeded(called("train.py", *lines, *short, cwd=tmp_path))
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["exact"]["over"]["count"] == 20
    assert summary["flops"] > 0
    assert 0 <= summary["metrics"]["accuracy"] == last["accuracy_val"] <= 1
    evaluated = called("evaluate.py", "run=run", "weights=last", "json=true", cwd=tmp_path)
    found = json.loads(evaluated.stdout)["nats_per_character"]
    assert found == pytest.approx(summary["exact"]["nats"], abs=1e-6)
    assert accuracy(torch.tensor([[0.0, 2.0], [0.0, 2.0]]), torch.tensor([1, 0])).tolist() == [True, False]


def test_lines_that_do_not_fit_are_refused(called: Script, tmp_path: Path) -> None:
    done = called("train.py", "data=recall", "model=v2", "data.distance=16", cwd=tmp_path)
    refused(done, "model.block_size")


KINDS = ["characters", "bytes", "subwords", "words"]
QUESTIONS = [f"{a}+{b}={a + b}" for a in range(12) for b in range(12)]


@pytest.mark.parametrize("kind", KINDS)
def test_of_questions_only_the_answers_and_their_ends_are_targets(kind: str, tmp_path: Path) -> None:
    if kind == "subwords":
        require_extra("subwords")
    (tmp_path / "sums.txt").write_text("\n".join([*QUESTIONS, QUESTIONS[0], ""]))
    corpus = questions(str(tmp_path / "sums.txt"), "=", 0.9, tokenizer=kind)
    assert sorted((corpus.train + corpus.val).splitlines()) == sorted(QUESTIONS)  # each once
    tokenizer = built_for(corpus)
    data = LineData(corpus, tokenizer, block_size=8, device="cpu")
    whole = data.every_target_once("val", tokens_per_pass=20)
    rows = [row for batch in whole for row in zip(batch.inputs[0], batch.targets, strict=True)]
    lines = corpus.val.splitlines()
    assert [tokenizer.decode(inputs).split("\n")[0] for inputs, _ in rows] == lines
    answers = [tokenizer.decode(targets[targets != IGNORED]) for _, targets in rows]
    assert answers == [line.partition("=")[2] + "\n" for line in lines]
    assert whole.count == whole.of == sum(len(tokenizer.encode(answer)) for answer in answers)
    of_training = [line.partition("=")[2] + "\n" for line in corpus.train.splitlines()]
    assert data.epoch_tokens == sum(len(tokenizer.encode(answer)) for answer in of_training)


def test_documents_of_words_are_written_and_measured_per_character(called: Script, tmp_path: Path) -> None:
    tales = [f"{name} met {friend}\nand told {friend} of the fox" for name in FRIENDS for friend in FRIENDS]
    (tmp_path / "tales.txt").write_text("\n\n".join(tales))
    own = ["data=documents", "data.path=tales.txt", r"data.separator='\n\n'", "data.tokenizer=words"]
    short = ["model=v2", "model.block_size=4", "training.max_iters=100", "training.learning_rate=0.03"]
    estimates = ["training.eval_interval=100", "training.eval_iters=1", "hydra.run.dir=run"]
    succeeded(called("train.py", *own, *short, *estimates, cwd=tmp_path))
    over = json.loads((tmp_path / "run" / "summary.json").read_text())["exact"]["over"]
    texts = [tale + "\n\n" for tale in documents(str(tmp_path / "tales.txt"), "\n\n", 0.9).val.split("\n\n")]
    assert over["characters"] == sum(map(len, texts))
    assert over["count"] < over["characters"] / 2
    done = called("generate.py", "run=run", r"prompt='\n\n'", r"stop='\n\n'", "tokens=40", cwd=tmp_path)
    assert set(done.stdout.split()) & {"met", "told", "fox"}, done.stdout


FRIENDS = ["Anna", "Otto", "Hannah", "Bob", "Eve"]


def test_files_of_windows_are_the_same_questions_and_documents(tmp_path: Path) -> None:
    lines = [f"{number} in Köln={number}" for number in range(30)]
    for name, end in (("unix", "\n"), ("windows", "\r\n")):
        (tmp_path / name).write_bytes((end.join(lines) + end).encode("utf-8" if name == "unix" else "cp1252"))
    unix, windows = str(tmp_path / "unix"), str(tmp_path / "windows")
    assert questions(windows, "=", 0.9, "cp1252") == questions(unix, "=", 0.9)
    assert documents(windows, "\n", 0.9, "cp1252") == documents(unix, "\n", 0.9)


@pytest.mark.parametrize(
    ("kind", "separator", "block_size"),
    [("characters", "\n", 100), ("bytes", "--", 1), ("subwords", "--", 3), ("words", "<|end|>", 4)],
)
def test_every_token_of_a_document_is_a_target_once(separator: str, block_size: int, kind: str, tmp_path: Path) -> None:
    if kind == "subwords":
        require_extra("subwords")
    names = [f"{letter}{'xyz' * length}{length}" for length in range(4) for letter in "abcdefgh"]
    for part in (0, 1):
        (tmp_path / f"{part}.txt").write_text(separator.join(names[part::2]) + separator)
    corpus = documents(str(tmp_path), separator, train_fraction=0.8, tokenizer=kind)
    assert not corpus.answers_only
    assert sorted((corpus.train + separator + corpus.val).split(separator)) == sorted(names)
    tokenizer = built_for(corpus)
    data = LineData(corpus, tokenizer, block_size=block_size, device="cpu")
    for split in ("train", "val"):
        own, targets = getattr(corpus, split).split(separator), ""
        for batch in data.every_target_once(split, tokens_per_pass=20):
            assert batch.inputs[0].shape[1] <= block_size
            for inputs, found in zip(batch.inputs[0], batch.targets, strict=True):
                is_target = found != IGNORED
                window = tokenizer.decode(inputs[: int(is_target.nonzero()[-1]) + 1])
                assert any(window in separator + name + separator for name in own)
                targets += tokenizer.decode(found[is_target])
        assert targets == "".join(name + separator for name in own)


def test_the_memory_of_documents_is_in_proportion_to_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join([*map(str, range(2000)), "z" * 2000]))
    corpus = documents(str(tmp_path / "a.txt"), "\n", 0.9)
    data = LineData(corpus, built_for(corpus), block_size=3000, device="cpu")
    assert data.training_batch(seed=1, iteration=0, batch_size=2).inputs[0].shape == (2, 2001)
    assert len(pickle.dumps(data)) < 40 * (tmp_path / "a.txt").stat().st_size


def test_what_is_no_list_of_questions_or_documents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("1=1\n\n1=1\n1=1\n")
    (tmp_path / "b.txt").write_text("2=2\n\n2=2\na single line\n\n")
    with pytest.raises(RequestError, match=r"line 4 .*b\.txt"):
        questions(str(tmp_path), "=", train_fraction=0.9)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").write_text("a single line\n\n")
    with pytest.raises(RequestError, match="1 part"):
        documents(str(tmp_path), "\n", train_fraction=0.9)
    monkeypatch.setattr("gpt.data.tables._MOST_BYTES", 10)
    with pytest.raises(RequestError, match="0 MB"):
        documents(str(tmp_path), "\n", train_fraction=0.9)


_CELLS = st.text(st.sampled_from("ab '\",;\t\r\n\\é\u2028😀"), max_size=6)


@pytest.mark.parametrize(
    ("suffix", "encoding", "end"),
    [(".csv", "utf-8-sig", "\r\n"), (".CSV", "utf-16", "\r\n"), (".jsonl", "utf-8", "\n")],
)
@given(rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=5))
def test_tables_have_the_documents_that_the_standard_library_reads(
    suffix: str, encoding: str, end: str, rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("table") / f"a{suffix}"
    rows = [*(("", 5 * letter) for letter in "cdefghijklmn"), *rows]  # enough of them to divide
    with file.open("w", encoding=encoding, newline="") as opened:
        if suffix == ".jsonl":
            opened.writelines(json.dumps({"id": cell, "text": text}) + 2 * end for cell, text in rows)
        else:
            csv.writer(opened, lineterminator=end).writerows([("id", "text"), *rows])
            opened.write(end)
    if suffix != ".jsonl":
        with file.open(encoding=encoding, newline="") as opened:
            rows = [(cells[0], cells[1]) for cells in csv.reader(opened) if cells][1:]
    expected = sorted(text for _, text in rows if text.strip())
    corpus = text_of(str(file), 0.5, field="text", encoding=encoding.removesuffix("-sig"))
    found = [text for split in (corpus.train, corpus.val) for text in split.split(corpus.separator)]
    assert sorted(found) == expected
