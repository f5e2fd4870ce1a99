"""Sentence pairs: read, refused, encoded, and served once an epoch in batches with little padding."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.data import IGNORED
from gpt.errors import RequestError
from gpt.models.transformer import PAD
from gpt.pairs import Corpus, PairData, made_up, parallel
from gpt.subwords import BEGIN, END, UNKNOWN, Subwords
from tests.conftest import REPOSITORY, Script


def captions(count: int) -> list[tuple[str, str]]:
    """Pairs of made-up sentences of 4 to 40 words, the second about as long as the first."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(300)]
    pairs = []
    for _ in range(count):
        length = int(draw.lognormvariate(2.5, 0.4)) + 3
        pairs.append(tuple(" ".join(draw.choices(words, k=length + draw.randint(-2, 2))) + "." for _ in range(2)))
    return pairs


@pytest.fixture(scope="module")
def data() -> PairData:
    pairs = captions(12_000)
    corpus = Corpus(pairs[:11_600], pairs[11_600:11_800], pairs[11_800:])
    tokenizer = Subwords.trained_on((line for pair in corpus.train for line in pair), 2000)
    return PairData(corpus, tokenizer, block_size=256, device="cpu")


@given(st.lists(st.text(st.characters(categories=["L", "P", "N"]), min_size=1), min_size=1))
def test_subwords_restore_the_text(words: list[str]) -> None:
    line = " ".join(words).replace("▁", "_")  # the mark that stands for a space
    tokenizer = Subwords.trained_on([line], 100)
    again = Subwords(tokenizer.vocabulary, tokenizer.merges)
    assert tokenizer.decode(tokenizer.encode_all([line])[0]) == line
    assert again.encode_all([line]) == tokenizer.encode_all([line])


def test_what_was_never_seen_is_unknown_and_no_error(data: PairData) -> None:
    (ids,) = data.tokenizer.encode_all(["日本"])
    assert UNKNOWN in ids
    assert data.tokenizer.encode_all([""]) == [[]]


def test_decoding_ends_at_the_end(data: PairData) -> None:
    (ids,) = data.tokenizer.encode_all(["abc def."])
    assert data.tokenizer.decode([BEGIN, *ids, END, *ids, PAD]) == "abc def."


def test_an_epoch_serves_every_pair_once_with_less_than_a_tenth_of_padding(data: PairData) -> None:
    iteration, seen, tokens, places = 0, [], 0, 0
    while data.epoch(1, iteration, 1024) == 0:
        batch = data.training_batch(1, iteration, 1024)
        (source, target), answer = batch.inputs, batch.targets
        assert answer.numel() <= 1024
        assert batch.tokens == (answer != IGNORED).sum()
        assert torch.equal((target == PAD), (answer == IGNORED))
        assert (target[:, 0] == BEGIN).all()
        assert torch.equal(target[:, 1:][answer[:, 1:] != IGNORED], answer[:, :-1][answer[:, 1:] != IGNORED])
        seen += [tuple(row) for row in source.tolist()]
        tokens += int((source != PAD).sum()) + batch.tokens
        places += source.numel() + answer.numel()
        iteration += 1
    assert len(seen) == len(data.corpus.train)
    assert 1 - tokens / places < 0.1


def test_batches_are_a_function_of_seed_and_iteration(data: PairData) -> None:
    def batch(seed: int, iteration: int) -> list:
        return data.training_batch(seed, iteration, 512).targets.tolist()

    assert batch(1, 200) == batch(1, 200)
    again = PairData(data.corpus, data.tokenizer, block_size=256, device="cpu")
    assert again.training_batch(1, 200, 512).targets.tolist() == batch(1, 200)
    assert batch(1, 200) != batch(2, 200)
    assert batch(1, 200) != batch(1, 201)


def test_an_evaluation_covers_the_split(data: PairData) -> None:
    for split in ("val", "test"):
        assert sum(batch.tokens for batch in data.every_target_once(split, 4096)) == data.tokens(split)
    assert sum(batch.tokens for batch in data.estimation_batches("val", 1, 0, 1, 1, 4096)) == data.tokens("val")
    assert sum(len(batch.targets) for batch in data.estimation_batches("train", 1, 0, 1, 1, 4096)) == 200


def test_made_up_pairs_are_what_they_say() -> None:
    for task, corpus in ((task, made_up(task, length=7, size=1000)) for task in ("copy", "reverse")):
        assert [len(part) for part in (corpus.train, corpus.val, corpus.test)] == [900, 50, 50]
        for source, target in corpus.train:
            assert target.split() == (source.split() if task == "copy" else source.split()[::-1])


@pytest.mark.parametrize(
    ("german", "english", "message"),
    [
        ("a\nb\nc", "a\nb", "has 3 lines and .* has 2: they need the same number"),
        ("a\n\nc", "a\nb\nc", "line 2 of .* is empty"),
        ("a\nb\nc", "a\nb\nc", "too few to hold"),
        ("", "a", "is empty"),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, german: str, english: str, message: str) -> None:
    (tmp_path / "de").write_text(german)
    (tmp_path / "en").write_text(english)
    with pytest.raises(RequestError, match=message):
        parallel(tmp_path / "de", tmp_path / "en", held_out=0.1)


@pytest.fixture(scope="module")
def translator(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which copying was learnt with the command line."""
    folder = tmp_path_factory.mktemp("translator")
    done = script(
        "train.py", "model=transformer", "data=copy", "data.length=6", "data.size=4000", "training.max_iters=400",
        "training.warmup_iters=100", "model.n_layer=1", "model.n_embd=64", "model.dropout=0.0", "device=cpu",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "found" in done.stdout
    return folder


def test_copying_is_learnt_and_measured(script: Script, translator: Path) -> None:
    done = script("evaluate.py", "beam=2", cwd=translator)
    assert done.returncode == 0, done.stderr
    rows = {line.split("  ")[0]: line.split()[-2:] for line in done.stdout.splitlines()}
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in done.stdout
    (right,) = [float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("exactly right")]
    assert right >= 99, rows


def test_translations_come_line_by_line(script: Script, translator: Path) -> None:
    (translator / "lines.txt").write_text("a b c\nd e\n")
    for arguments in (["prompt=a b c"], ["prompt_file=lines.txt"]):
        done = script("generate.py", *arguments, cwd=translator)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == "a b c"
    assert done.stdout.splitlines() == ["a b c", "d e"]


def test_standard_input_is_translated_line_by_line(translator: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "generate.py")]
    done = subprocess.run(command, cwd=translator, input=b"a b c\n\nd e", capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == ["a b c", "", "d e"]
    done = subprocess.run(command, cwd=translator, input=b"a b\n\xff\xfe\n", capture_output=True)
    assert done.returncode == 2
    assert b"error: line 2 of standard input is not UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.py", "model=transformer"], "model=transformer translates: choose data=multi30k"),
        (["train.py", "model=v5", "data=copy"], "data=copy is for model=transformer"),
        (["train.py", "model=transformer", "data=parallel"], "data.source is needed"),
        (["generate.py", "prompt=" + "a " * 5000], "a sentence has 5,002 subwords, the model takes 128"),
        (["generate.py", "beam=0"], "beam=0"),
        (["generate.py", "prompt=日本"], "the character '日' (U+65E5) is not in the vocabulary"),
        (["generate.py", "prompt= "], "the prompt is empty"),
        (["evaluate.py", "split=train"], "split=train"),
    ],
)
def test_requests_that_cannot_be(script: Script, translator: Path, arguments: list[str], message: str) -> None:
    done = script(*arguments, cwd=translator)
    assert done.returncode == 2
    assert message in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stderr


def test_a_run_without_its_tokenizer(script: Script, translator: Path) -> None:
    (run,) = (translator / "runs").glob("*/*")
    tokenizer = run / "tokenizer.json"
    content = tokenizer.read_bytes()
    tokenizer.unlink()
    done = script("generate.py", "prompt=a b", cwd=translator)
    tokenizer.write_bytes(content)
    assert done.returncode == 1
    assert "tokenizer.json is missing" in done.stderr
