"""Tasks: a run continues a text or translates, by the type of its corpus, and is asked and measured accordingly."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gpt import models, tasks
from gpt.base.choices import Choice
from gpt.base.command_schemas import EvaluateConfig, GenerateConfig
from gpt.base.errors import RequestError, UserError
from gpt.data import corpora
from gpt.data.corpus import Corpus, PairCorpus, TextCorpus
from gpt.data.sources import read_text
from gpt.data.tokenizers.bytes import ByteTokenizer
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.data.vocabulary import SPECIAL, Vocabulary
from gpt.models import STAGE
from gpt.models.transformer import Transformer
from gpt.tasks.decoding.beam_search import translate
from gpt.tasks.decoding.sampling import generate, sample_text
from gpt.tasks.task import Measure, every_task
from gpt.tasks.translation import scores
from tests.conftest import stage_config

CPU = torch.device("cpu")
TRANSFORMER = {
    "_target_": "gpt.models.transformer.Transformer", "block_size": 24, "n_embd": 32, "n_head": 4, "n_layer": 1,
    "n_hidden": 48, "dropout": 0.1, "norm": "pre", "shared_embedding": True,
}  # fmt: skip
COPY = {"_target_": "gpt.data.corpora.copy", "length": 5, "size": 200, "vocab_size": 100}


def choice(**values: object) -> Choice:
    return Choice.model_validate(values)


def stage(name: str) -> Choice:
    return Choice.model_validate(dict(stage_config(name).model))


@pytest.fixture
def text_choice(corpus_file: Path) -> Choice:
    return choice(_target_="gpt.data.corpora.text", path=str(corpus_file), train_fraction=0.9)


@pytest.fixture
def continuation(text_choice: Choice) -> tuple[tasks.Task, TextCorpus, nn.Module]:
    task, corpus = tasks.load(text_choice, STAGE.find(stage("v2")))
    assert isinstance(corpus, TextCorpus)
    return task, corpus, built(stage("v2"), task)


@pytest.fixture
def translation() -> tuple[tasks.Task, PairCorpus, nn.Module]:
    task, corpus = tasks.load(choice(**COPY), STAGE.find(choice(**TRANSFORMER)))
    assert isinstance(corpus, PairCorpus)
    return task, corpus, built(choice(**TRANSFORMER), task)


def built(model: Choice, task: tasks.Task) -> nn.Module:
    torch.manual_seed(0)
    return models.build(model, task.vocab_size)


def asked(**changes: Any) -> GenerateConfig:
    values = {
        "tokens": 20, "num_samples": 1, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 1, "beam": 2,
        "min_p": None, "repetition_penalty": None, "stop": None,
        "length_penalty": 1.0, "dtype": "float32",
    }  # fmt: skip
    return GenerateConfig.model_construct(**(values | changes))


EVALUATED = EvaluateConfig.model_construct(beam=2, length_penalty=1.0)


def test_the_type_of_the_corpus_decides_on_the_task() -> None:
    loaders = {"text": tasks.Continuation, "parallel": tasks.Translation}
    assert {loader: tasks.of(choice(_target_=f"gpt.data.corpora.{loader}")) for loader in loaders} == loaders
    types = [task.corpus for task in every_task()]
    assert len(set(types)) == len(types)


def test_a_corpus_that_no_task_is_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Melody(Corpus):
        def parts(self) -> list[str]:
            return []

    def melody() -> Melody:
        return Melody()

    melody.__module__ = "gpt.data.corpora"
    melody.__annotations__["return"] = Melody
    monkeypatch.setattr(corpora, "melody", melody, raising=False)
    with pytest.raises(RequestError, match=r"=gpt\.data\.corpora\.melody returns a Melody, which no task handles"):
        tasks.of(choice(_target_="gpt.data.corpora.melody"))


@pytest.mark.parametrize(
    ("task", "kind", "vocabulary"),
    [
        (tasks.Continuation, "sentence_subwords", [*SPECIAL, "c"]),
        (tasks.Continuation, "os", "abc"),  # no module that is not a tokenizer is imported
        (tasks.Translation, "characters", "abc"),
        (tasks.Translation, "sentence_subwords", ["a", "b", "c", "d", "e"]),
    ],
)
def test_the_vocabulary_of_another_task_is_damaged(task: type[tasks.Task], kind: str, vocabulary: Any) -> None:
    with pytest.raises(UserError, match=r"vocabulary of this run is damaged: for .*, it must be"):
        task.restored(Vocabulary(kind=kind, vocabulary=vocabulary, corpus=""))


def test_without_its_library_a_translation_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gpt.data.pairs", raising=False)
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # as if it were not installed
    unreachable = choice(_target_="gpt.data.corpora.multi30k", dir="/nowhere", vocab_size=100)
    with pytest.raises(RequestError, match=r"tokenizers is not installed: pip install -e '\.\[translate\]'$"):
        tasks.load(unreachable, STAGE.find(choice(**TRANSFORMER)))


def test_a_text_is_served_as_its_own_characters(
    continuation: tuple, corpus_file: Path, tokenizer: CharTokenizer
) -> None:
    task, corpus, model = continuation
    characters = "".join(sorted(set(corpus_file.read_text())))
    assert task.vocabulary(corpus).vocabulary == characters
    assert task.vocab_size == len(characters)
    data = task.data(corpus, model, CPU)
    assert data.training_batch(0, 0, 4).targets.shape == (4, 8)
    assert data.estimated_over == "random batches"
    assert (task.examples(model, corpus), task.scores(model, corpus, "val", EVALUATED)) == ([], [])
    assert task.sample(model, corpus, 3) == sample_text(model, tokenizer, seed=3)


def test_pairs_are_served_as_subwords_of_the_training_pairs(translation: tuple) -> None:
    task, corpus, model = translation
    vocabulary = task.vocabulary(corpus)
    assert task.vocab_size == len(vocabulary.vocabulary) <= corpus.vocab_size
    assert set("".join(vocabulary.vocabulary[4:])) == set("abcdefghijklmnop▁")
    source, target = task.data(corpus, model, CPU).training_batch(0, 0, 64).inputs
    assert len(source) == len(target) > 1
    assert task.data(corpus, model, CPU).estimated_over == "random training pairs, and the entire validation split"


@pytest.mark.parametrize("name", ["continuation", "translation"])
def test_a_vocabulary_restores_the_task_with_its_tokenizer(name: str, request: pytest.FixtureRequest) -> None:
    task, corpus, model = request.getfixturevalue(name)
    vocabulary = task.vocabulary(corpus)
    assert vocabulary.corpus == corpus.digest
    again = type(task).restored(vocabulary)
    assert again.vocabulary(corpus) == vocabulary
    ids, expected = (t.data(corpus, model, CPU).training_batch(0, 0, 64).targets for t in (again, task))
    assert torch.equal(ids, expected)


@pytest.mark.parametrize(
    ("task", "own", "of_the_other"),
    [
        (tasks.Continuation, ["tokens", "training.eval_iters"], ["beam", "length_penalty"]),
        (tasks.Translation, ["beam", "length_penalty"], ["tokens", "top_p", "dtype", "training.eval_iters"]),
    ],
)
def test_a_key_of_the_other_task_is_refused(task: type[tasks.Task], own: list[str], of_the_other: list[str]) -> None:
    task.refuse_others([*own, "run", "weights", "prompt", "training.max_iters"])
    for key in of_the_other:
        with pytest.raises(RequestError, match=f"{key} is for a run that .*, but this one {task.does}"):
            task.refuse_others([*own, key])


def test_a_text_is_evaluated_on_val_and_pairs_on_test_unless_asked_otherwise(
    continuation: tuple, translation: tuple
) -> None:
    (text_task, text, _), (pair_task, pairs, _) = continuation, translation
    assert [text_task.split(split, text) for split in (None, "val", "train")] == ["val", "val", "train"]
    assert [pair_task.split(split, pairs) for split in (None, "val", "train")] == ["test", "val", "train"]
    with pytest.raises(RequestError, match="split=test does not exist: this text has train, val"):
        text_task.split("test", text)
    assert text_task.split("test", TextCorpus("a", "b", "c")) == "test"


def test_a_prompt_is_continued_character_by_character(continuation: tuple, tokenizer: CharTokenizer) -> None:
    task, _, model = continuation
    first, *characters, end = task.respond(model, "Abc", asked(tokens=20))
    assert (first, end) == ("Abc", "\n")
    expected = tokenizer.decode(torch.cat(list(generate(model, tokenizer.encode("Abc"), tokens=20, seed=1))))
    assert characters == list(expected)
    assert "\n" + "".join(task.respond(model, None, asked())) == "".join(task.respond(model, "\n", asked()))
    with pytest.raises(RequestError, match="the prompt is empty"):
        list(task.respond(model, "", asked()))


@pytest.mark.parametrize("num_samples", [1, 2])
def test_a_prompt_of_bytes_that_are_not_text_is_printed_as_text(num_samples: int) -> None:
    task = tasks.Continuation(ByteTokenizer())
    prompt = b"a\xff\xe2b".decode(errors=task.undecodable)
    printed = "".join(task.respond(built(stage("v2"), task), prompt, asked(num_samples=num_samples)))
    assert printed.encode().startswith("a\ufffd\ufffdb".encode())


def test_several_samples_follow_each_other(continuation: tuple, capsys: pytest.CaptureFixture) -> None:
    task, _, model = continuation
    pieces = list(task.respond(model, "Abc", asked(num_samples=3)))
    assert len(set(pieces)) == 3
    assert all(piece.startswith("Abc") and len(piece) == 3 + 20 + 2 for piece in pieces)
    assert pieces[0].removesuffix("\n") == "".join(task.respond(model, "Abc", asked()))
    assert capsys.readouterr().err.splitlines() == [f"sample {number} of 3" for number in (1, 2, 3)]


def test_lines_are_translated_together_and_a_bad_one_costs_neither_the_others_nor_the_alignment(
    translation: tuple, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, _, model = translation
    lines = [b"a b c", b"a \xff b", b"\xc3\xa1 d e", b"a " * 30, b"", b"d \xe6\x97\xa5 e f"]
    (tmp_path / "lines.txt").write_bytes(b"\r\n".join(lines))
    (output,) = task.respond(model, read_text(tmp_path / "lines.txt", errors=task.undecodable), asked())
    first, third, last = ("".join(task.respond(model, line, asked())) for line in ("a b c", "d e", "d e f"))
    assert output == f"{first}\n{third}\n\n{last}"
    assert first != last
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "line 2 is not UTF-8", "line 3", "line 4 has 31 subwords, the model takes 24", "line 6"
    ]  # fmt: skip


def test_standard_input_is_translated_as_it_comes(translation: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _, model = translation
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa b c\n\nd e f")))
    pieces = task.respond(model, None, asked())
    assert next(pieces) == "".join(task.respond(model, "a b c", asked()))
    assert sys.stdin.buffer.tell() == len(b"\xef\xbb\xbfa b c\n")  # the next line has not been asked for
    assert list(pieces) == ["\n", "".join(task.respond(model, "d e f", asked()))]


@pytest.mark.parametrize("training", [True, False])
def test_examples_of_translations_show_source_target_and_what_was_found(training: bool, translation: tuple) -> None:
    task, corpus, model = translation
    model.train(training)
    examples = task.examples(model, corpus)
    assert {module.training for module in model.modules()} == {training}  # as it was
    expected = []
    for source, target in corpus.val[:3]:
        (output,) = task.respond(model, source, asked(beam=1, length_penalty=0.0))
        expected += [f"  source {source}", f"  target {target}", f"  output {output.rstrip()}"]
    assert examples == expected
    assert task.sample(model, corpus, 3) == "\n".join(examples) + "\n"


def test_translations_of_a_split_are_compared_with_its_references(translation: tuple) -> None:
    task, corpus, model = translation
    assert isinstance(model, Transformer)
    rows = task.scores(model, corpus, "test", EVALUATED)
    sources, targets = zip(*corpus.test, strict=True)
    found = translate(model, task.tokenizer, list(sources), beam=2, length_penalty=1.0)
    expected = scores(found, list(targets))
    assert rows == [Measure(score.name, round(score.value, 2), score.unit) for score in expected]


def test_a_split_with_unknown_characters_or_too_long_pairs_is_translated_and_compared(translation: tuple) -> None:
    task, corpus, model = translation
    pairs = [("á a b", "a b ñ"), ("日", "a")]
    odd = PairCorpus([*corpus.train[:3], ("a " * 2 * model.block_size, "b")], pairs, pairs, corpus.vocab_size)
    assert [len(task.scores(model, odd, split, EVALUATED)) for split in ("train", "test")] == [4, 4]
    assert {"  source á a b", "  output "} <= set(task.examples(model, odd))  # nothing of 日 is left


def test_the_scores_of_the_training_split_are_over_the_pairs_that_were_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, corpus = tasks.load(choice(**COPY), STAGE.find(choice(**TRANSFORMER)))
    model = models.build(choice(**TRANSFORMER), task.vocab_size)
    pairs = [("a b", "a b"), ("a " * 30, "a b"), ("a b", "a " * 30)]
    translated: list[str] = []

    def remembered(_: nn.Module, sentences: list[str], __: object) -> list[str]:
        translated.extend(sentences)
        return sentences

    monkeypatch.setattr(task, "translate", remembered)
    task.scores(model, PairCorpus(pairs, corpus.val, corpus.test, vocab_size=100), "train", EVALUATED)
    assert translated == ["a b"]
