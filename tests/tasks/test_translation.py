"""Translating: pairs, lines, scores, and a translator as a user trains, measures and asks it."""

import io
import sys
from pathlib import Path

import pytest

from tests.extras import require_extra

require_extra("translate")

import sacrebleu
from torch import nn

from gpt import tasks
from gpt.base.errors import RequestError
from gpt.config.command_schemas import BeamConfig, EvaluateConfig
from gpt.data.corpora import read_text
from gpt.data.corpus import PairCorpus
from gpt.models import STAGE
from gpt.tasks.decoding.beam_search import translate
from gpt.tasks.translation import scores
from tests.conftest import Script
from tests.tasks.test_tasks import CPU, asked, built, check_restored, choice

TRANSFORMER = choice(
    _target_="gpt.models.transformer.Transformer",
    block_size=24,
    n_embd=32,
    n_head=4,
    n_layer=1,
    n_hidden=48,
    dropout=0.1,
    norm="pre",
    shared_embedding=True,
)
EVALUATED = EvaluateConfig.model_construct(beam=2)


@pytest.fixture
def translation() -> tuple[tasks.Task, PairCorpus, nn.Module]:
    copy = choice(_target_="gpt.data.corpora.copy", length=5, size=200, vocab_size=100)
    task, corpus = tasks.load(copy, STAGE.find(TRANSFORMER))
    assert isinstance(corpus, PairCorpus)
    return task, corpus, built(TRANSFORMER, task)


def test_without_its_library_a_translation_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gpt.data.pairs", raising=False)
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # as if it were not installed
    unreachable = choice(_target_="gpt.data.corpora.multi30k", dir="/nowhere", vocab_size=100)
    with pytest.raises(RequestError, match=r"\[translate\]"):
        tasks.load(unreachable, STAGE.find(TRANSFORMER))


def test_pairs_are_served_as_subwords_of_the_training_pairs(translation: tuple) -> None:
    task, corpus, model = translation
    assert task.vocab_size <= corpus.vocab_size
    assert set("".join(task.vocabulary(corpus).vocabulary[4:])) == set("abcdefghijklmnop▁")
    check_restored(task, corpus, model)
    source, target = task.data(corpus, model, CPU).training_batch(0, 0, 64).inputs
    assert len(source) == len(target) > 1
    assert [task.split(split, corpus) for split in (None, "val", "train")] == ["test", "val", "train"]


def test_an_unreadable_line_leaves_the_others_aligned(
    translation: tuple, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, _, model = translation
    lines = ["\ufeffa b c", "a \udcff b", "áñ d e", "á", "\ufeffa b c", "a " * 30, "", " d 日e f"]
    (tmp_path / "lines.txt").write_bytes(b"\r\n".join(line.encode(errors="surrogateescape") for line in lines))
    output = list(task.respond(model, read_text(tmp_path / "lines.txt", errors=task.decode_errors), asked()))
    named = [
        ("line 2", "UTF-8"),
        ("line 3", "'á' (U+00E1) and 'ñ' (U+00F1)"),
        ("line 4", "'á' (U+00E1)"),
        ("line 5", r"'\ufeff' (U+FEFF)"),  # a mark in the first line only
        ("line 6", "31 subwords"),
        ("line 8", "'日' (U+65E5)"),
    ]
    for message, words in zip(caplog.messages, named, strict=True):
        assert all(word in message for word in words)
    (first,), (third,), (last,) = (task.respond(model, line, asked()) for line in ("a b c", "d e", "d e f"))
    assert output == [first, [""], third, [""], first, [""], [""], last]
    assert first != last


def test_standard_input_is_translated_as_it_comes(
    translation: tuple, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task, _, model = translation
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa b c\n\nd e f")))
    pieces = task.respond(model, None, asked())
    assert [next(pieces)] == list(task.respond(model, "a b c", asked()))
    assert sys.stdin.buffer.tell() == len(b"\xef\xbb\xbfa b c\n")  # the next line has not been asked for
    assert list(pieces) == [[""], *task.respond(model, "d e f", asked())]
    assert not caplog.messages  # about the mark


def test_examples_show_source_target_and_what_was_found(translation: tuple) -> None:
    task, corpus, model = translation
    expected = []
    for source, target in corpus.val[:3]:
        ((output,),) = task.respond(model, source, asked(beam=1, length_penalty=0.0))
        expected += [f"  source {source}", f"  target {target}", f"  output {output}"]
    for training in (True, False):
        model.train(training)
        assert task.examples(model, corpus) == expected
        assert {module.training for module in model.modules()} == {training}  # as it was
    assert task.sample(model, corpus, 3) == "\n".join(expected) + "\n"


def test_translations_of_a_split_are_compared_with_its_references(
    translation: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the training split only pairs that were trained on; characters that are unknown do no harm."""
    task, corpus, model = translation
    sources, targets = map(list, zip(*corpus.test, strict=True))
    found = scores(translate(model, task.tokenizer, sources, beam=2, length_penalty=1.0), targets)
    assert task.scores(model, corpus, "test", EVALUATED) == found

    unknown, long = [("á a b", "a b ñ"), ("日", "a")], "a " * 2 * model.block_size
    odd = PairCorpus([("a b", "a b"), (long, "a b"), ("a b", long)], unknown, unknown, corpus.vocab_size)
    assert len(task.scores(model, odd, "test", EVALUATED)) == 2  # no BLEU of such short sentences
    assert {"  source á a b", "  output "} <= set(task.examples(model, odd))  # nothing of 日 is left
    translated: list[str] = []

    def remembered(_: nn.Module, sentences: list[str], __: BeamConfig) -> list[str]:
        translated.extend(sentences)
        return sentences

    monkeypatch.setattr(task, "translate", remembered)
    task.scores(model, odd, "train", EVALUATED)
    assert translated == ["a b"]


def test_scores_and_signatures_are_those_of_sacrebleu() -> None:
    references = ["A man with a hat plays guitar.", "Two dogs run over the green grass.", "A child is sleeping here."]
    found = ["a man with a hat plays the guitar.", "Two dogs run over the green grass.", "A child sleeps here."]
    bleu, lower, chrf, right = scores(found, references)
    assert bleu.value == round(sacrebleu.corpus_bleu(found, [references]).score, 2)
    assert lower.value == round(sacrebleu.corpus_bleu(found, [references], lowercase=True).score, 2)
    assert chrf.value == round(sacrebleu.corpus_chrf(found, [references]).score, 2)
    assert right.value == 33.33
    signatures = {
        "BLEU": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:",
        "BLEU, lower case": "nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|",
        "chrF": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:",
        "exact matches": "% of sentences",
    }
    for score, (name, signature) in zip((bleu, lower, chrf, right), signatures.items(), strict=True):
        assert (score.name, score.unit[: len(signature)]) == (name, signature)
    *_, spaced = scores([" a b ", "c"], ["  a b", "d"])  # subwords do not keep the spaces at the ends of a line
    assert spaced.value == 50
    assert [s.value for s in scores(references, references)] == pytest.approx([100, 100, 100, 100])


@pytest.fixture(scope="module")
def translator(called: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which copying was learned with the command line."""
    folder = tmp_path_factory.mktemp("translator")
    done = called(
        "train.py",
        "experiment=copy",
        "data.length=4",
        "data.size=4000",
        "training.max_iters=200",
        "schedule.warmup_iters=50",
        "model.n_layer=1",
        "model.n_embd=64",
        "model.dropout=0.0",
        "device=cpu",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "output" in done.stdout
    return folder


@pytest.mark.slow
def test_copying_is_learned_measured_and_done_line_by_line(called: Script, translator: Path) -> None:
    done = called("evaluate.py", "beam=2", cwd=translator)
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in done.stdout, done.stderr
    (right,) = [float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("exact matches")]
    assert right >= 99, done.stdout
    (translator / "lines.txt").write_text("\ufeffa b c\nd e\n")
    for argument, expected in (("prompt=a b c", "a b c\n"), ("prompt_file=lines.txt", "a b c\nd e\n")):
        done = called("generate.py", argument, cwd=translator)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


REFUSED = {
    "data=copy": ["train.py", "model=v5", "data=copy"],
    "training.eval_iters": ["train.py", "model=transformer", "data=copy", "training.eval_iters=4"],
    "prompt": ["generate.py", "prompt=" + "a " * 5000],
    "temperature": ["generate.py", "temperature=0.5"],
    "'日' (U+65E5) and '本' (U+672C)": ["generate.py", "prompt=日本"],
}


@pytest.mark.slow
@pytest.mark.parametrize(("word", "arguments"), REFUSED.items())
def test_a_request_that_cannot_be_met_ends_in_one_line(
    called: Script, translator: Path, arguments: list[str], word: str
) -> None:
    done = called(*arguments, cwd=translator)
    assert done.returncode == 2
    assert word in done.stderr
    assert done.stderr.count("error: ") == 1


@pytest.mark.parametrize(
    ("references", "measures"),
    [
        (["这是一个很好的例子。", "天气很好。"], ["BLEU", "BLEU, lower case", "chrF"]),
        (["これはよい例です。"], ["chrF"]),
        (["นี่คือตัวอย่าง"], ["chrF"]),
        (["good morning", "thank you"], ["chrF"]),
    ],
)
def test_a_right_translation_never_scores_zero(references: list[str], measures: list[str]) -> None:
    found = scores(references, references)
    assert [measure.name for measure in found] == [*measures, "exact matches"]
    assert [measure.value for measure in found] == pytest.approx([100] * len(found))
