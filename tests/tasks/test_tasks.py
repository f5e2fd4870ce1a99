"""Tasks: the type of a corpus decides what a run is for, and a text is continued."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gpt import models, tasks
from gpt.base.errors import RequestError, UserError
from gpt.config.command_schemas import GenerateConfig
from gpt.data import corpora
from gpt.data.corpus import Corpus, TextCorpus
from gpt.data.tokenizers.bytes import ByteTokenizer
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.data.vocabulary import SPECIAL, Vocabulary
from gpt.models import STAGE
from gpt.registry import Choice
from gpt.tasks.continuation import Continuation
from gpt.tasks.decoding.log_probabilities import LogProbabilities
from gpt.tasks.decoding.sampling import generate
from gpt.tasks.translation import Translation
from tests.conftest import stage_config

CPU = torch.device("cpu")


def choice(**values: object) -> Choice:
    return Choice.model_validate(values)


def built(model: Choice, task: tasks.Task) -> nn.Module:
    torch.manual_seed(0)
    return models.build(model, task.vocab_size)


def asked(**changes: Any) -> GenerateConfig:
    given = {"tokens": 20, "num_samples": 1, "seed": 1, "beam": 2, "dtype": "float32"}
    return GenerateConfig.model_construct(**given | changes)


V2 = choice(**stage_config("v2").model)


@pytest.fixture
def continuation(corpus_file: Path) -> tuple[tasks.Task, TextCorpus, nn.Module]:
    text = choice(_target_="gpt.data.corpora.text", path=str(corpus_file), train_fraction=0.9)
    task, corpus = tasks.load(text, STAGE.find(V2))
    assert isinstance(corpus, TextCorpus)
    return task, corpus, built(V2, task)


def test_the_corpus_decides_on_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for loader, task in {"text": Continuation, "parallel": Translation}.items():
        assert tasks.of(choice(_target_=f"gpt.data.corpora.{loader}")) is task

    class Melody(Corpus):
        pass

    def melody() -> Corpus: ...

    melody.__module__ = "gpt.data.corpora"
    melody.__annotations__["return"] = Melody
    monkeypatch.setattr(corpora, "melody", melody, raising=False)
    with pytest.raises(RequestError, match=r"=gpt\.data\.corpora\.melody"):
        tasks.of(choice(_target_="gpt.data.corpora.melody"))


@pytest.mark.parametrize(
    ("task", "kind", "vocabulary"),
    [
        (Continuation, "sentence_subwords", [*SPECIAL, "c"]),
        (Continuation, "os", "abc"),  # no module that is not a tokenizer is imported
        (Translation, "sentence_subwords", ["a", "b", "c", "d", "e"]),
    ],
)
def test_the_vocabulary_of_another_task_is_damaged(task: type[tasks.Task], kind: str, vocabulary: Any) -> None:
    with pytest.raises(UserError, match="vocabulary"):
        task.restored(Vocabulary(kind=kind, vocabulary=vocabulary, corpus=""))


def check_restored(task: tasks.Task, corpus: Corpus, model: nn.Module) -> None:
    vocabulary = task.vocabulary(corpus)
    assert task.vocab_size == len(vocabulary.vocabulary)
    again = type(task).restored(vocabulary)
    assert again.vocabulary(corpus) == vocabulary
    batches = (each.data(corpus, model, CPU).training_batch(0, 0, 64).targets for each in (again, task))
    assert torch.equal(*batches)


def test_a_text_is_served_as_its_own_characters(
    continuation: tuple, corpus_file: Path, tokenizer: CharTokenizer
) -> None:
    task, corpus, model = continuation
    assert task.vocabulary(corpus).vocabulary == "".join(sorted(set(corpus_file.read_text())))
    check_restored(task, corpus, model)
    assert task.data(corpus, model, CPU).training_batch(0, 0, 4).targets.shape == (4, 8)
    assert task.sample(model, corpus, 3) == tokenizer.decode(
        torch.cat([*generate(model, tokenizer.encode("\n"), seed=3)])
    )
    assert [task.split(split, corpus) for split in (None, "val", "train")] == ["val", "val", "train"]
    with pytest.raises(RequestError, match="split=test"):
        task.split("test", corpus)
    assert task.split("test", TextCorpus("a", "b", "c")) == "test"


@pytest.mark.parametrize(
    ("task", "own", "of_the_other"),
    [
        (Continuation, ["tokens"], ["beam", "length_penalty"]),
        (Translation, ["beam", "length_penalty"], ["tokens", "dtype"]),
    ],
)
def test_a_key_of_the_other_task_is_refused(task: type[tasks.Task], own: list[str], of_the_other: list[str]) -> None:
    task.refuse_others([*own, "run", "weights", "prompt", "training.max_iters"])
    for key in of_the_other:
        with pytest.raises(RequestError, match=key):
            task.refuse_others([*own, key])


def test_keys_of_windows_are_refused_for_a_translation() -> None:
    Continuation.check_training(["training.windows"])
    with pytest.raises(RequestError, match=r"training\.windows"):
        Translation.check_training(["training.max_iters", "training.windows"])


def text(samples: Iterator[Iterable[str]]) -> str:
    """The only sample."""
    (pieces,) = samples
    return "".join(pieces)


@pytest.mark.parametrize("n", [1, 3])
def test_log_probabilities_are_those_of_the_model(n: int, continuation: tuple, tokenizer: CharTokenizer) -> None:
    """Whatever the temperature, and up to a stop string."""
    task, _, model = continuation
    watch, options = LogProbabilities(2), asked(tokens=5, num_samples=n, temperature=0.5, repetition_penalty=1.5)
    for sample, pieces in enumerate(task.respond(model, "Abc", options, watch)):
        written = "".join(pieces)
        read = tokenizer.encode(written)
        with torch.no_grad():
            expected = model(read[None])[0].log_softmax(-1)
        found = watch.of(sample, written[3:], tokenizer)
        assert [each["token"] for each in found] == list(written[3:])
        for each, log_p, chosen in zip(found, expected[2:], read[3:], strict=False):
            assert each["logprob"] == pytest.approx(log_p[chosen].item(), abs=1e-5)
            assert [value for _, value in each["likeliest"]] == pytest.approx(log_p.topk(2).values.tolist(), abs=1e-5)
        assert watch.of(sample, written[3:5], tokenizer) == found[:2]


def test_a_prompt_is_continued_character_by_character(continuation: tuple, tokenizer: CharTokenizer) -> None:
    task, _, model = continuation
    ((first, *characters),) = task.respond(model, "Abc", asked())
    assert first == "Abc"
    expected = tokenizer.decode(torch.cat(list(generate(model, tokenizer.encode("Abc"), tokens=20, seed=1))))
    assert characters == list(expected)
    assert "\n" + text(task.respond(model, None, asked())) == text(task.respond(model, "\n", asked()))
    with pytest.raises(RequestError, match="prompt"):
        list(task.respond(model, "", asked()))

    stop = expected[9:11]
    (before,) = task.outputs(model, "Abc", 1, tokens=20, seed=1, stop=stop)
    assert before == expected.partition(stop)[0]
    assert text(task.respond(model, "Abc", asked(stop=stop))) == f"Abc{before}"
    several = ("not in it", expected[12:14], stop)
    assert task.outputs(model, "Abc", 1, tokens=20, seed=1, stop=several) == [before]
    assert task.outputs(model, "Abc", 3, tokens=20, seed=1, stop=[*several])[0] == before
    for wrong in ("", [], ["a", ""], 5, ["a", 5], {"a": 1}, [["a"]]):
        with pytest.raises(RequestError, match=r"^stop") as error:
            task.outputs(model, "Abc", 1, stop=wrong)
        assert "\n" not in str(error.value)

    samples = ["".join(pieces) for pieces in task.respond(model, "Abc", asked(num_samples=3))]
    assert len(set(samples)) == 3
    assert samples[0] == f"Abc{expected}"
    assert [f"Abc{sample}" for sample in task.outputs(model, "Abc", 3, tokens=20, seed=1)] == samples


def test_a_prompt_that_is_not_text_is_printed_as_text() -> None:
    task = Continuation(ByteTokenizer())
    prompt = b"a\xff\xe2b".decode(errors=task.decode_errors)
    assert text(task.respond(built(V2, task), prompt, asked())).startswith("a\ufffd\ufffdb")
