"""What the page asks for, as functions of a run."""

from pathlib import Path

import pytest
import torch

import gpt
from gpt.base.errors import RequestError
from gpt.data.pairs import BEGIN, END
from gpt.data.vocabulary import PAD
from gpt.playground import inspect, translating
from gpt.session.trained import TrainedRun
from tests.conftest import TrainedOnce, small_corpus


def read(run: TrainedRun, text: str) -> list[int]:
    return run.tokenizer.encode(text).tolist()


@pytest.fixture(scope="module")
def run(trained: Path) -> TrainedRun:
    return gpt.load(runs=trained / "runs", device="cpu")


@pytest.fixture(scope="module")
def counted(counting: Path) -> TrainedRun:
    return gpt.load(counting, device="cpu")


def test_logits_and_attention_are_the_models(run: TrainedRun) -> None:
    ids = run.task.tokenizer.encode("Abcde fg")
    with torch.no_grad():
        assert torch.equal(inspect.logits(run, ids.tolist()), run.model(ids[None])[0])
    text = "Abc de. fgh " * 9
    found = inspect.logits(run, read(run, text))
    assert found.shape == (len(text), run.task.vocab_size)
    p = found[-1].softmax(dim=-1)
    expected = run.next_token(text)
    for token, character in enumerate(run.task.tokenizer.vocabulary):
        assert p[token].item() == pytest.approx(expected[character], abs=1e-6)
    weights = inspect.attention(run, read(run, text))
    assert list(weights) == ["attention_0", "attention_1"]
    for found, expected in zip(weights.values(), run.attention(text[-16:]), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("length", [16, 100])
def test_tokens_are_predicted_from_most_of_a_window(run: TrainedRun, length: int) -> None:
    text = ("Abc de. fgh " * 9)[:length]
    found, T = inspect.logits(run, read(run, text)), run.model.block_size
    for position in range(1, length + 1):
        contexts = [text[max(0, position - seen) : position] for seen in range(T * 7 // 8, T + 1)]
        alone = [inspect.logits(run, read(run, context))[-1] for context in contexts]
        assert any(found[position - 1].allclose(x, atol=1e-5) for x in alone), position


def test_unknown_tokens_and_large_answers_are_refused(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "_MOST", 100)
    for look in (inspect.logits, inspect.attention):
        for token in (-1, 10**9):
            with pytest.raises(RequestError, match="these tokens"):
                look(run, [1, token])
    with pytest.raises(RequestError, match="vocabulary"):
        inspect.logits(run, [1] * 8)


@pytest.mark.parametrize(("stage", "reach"), [("v1", 1), ("mlp", 4), ("gru", 16)])
def test_how_far_back_a_stage_without_softmax_attention_reads(trained_run: TrainedOnce, stage: str, reach: int) -> None:
    sizes = [] if stage == "v1" else ["model.block_size=16"]
    sizes += ["model.context=4"] if stage == "mlp" else []
    run = gpt.load(trained_run(stage, *sizes), device="cpu")
    ids = read(run, "Abc de. fgh Abcd"[: 8 if stage == "v1" else 16])
    moved = inspect.interventions(run, ids)["moved"]
    assert moved.shape == (len(ids),)
    for n in (1, 3, len(ids)):  # the same by hand
        p, shorter = (inspect.logits(run, some)[-1].softmax(-1) for some in (ids, ids[-n:]))
        assert moved[n - 1].item() == pytest.approx((p - shorter).abs().sum().item() / 2, abs=1e-6)
    assert (moved[reach - 1 :] < 1e-6).all()
    assert (moved[: reach - 1] > 1e-6).all()


def test_counts_that_decide_are_told_from_attention_that_does_not(counted: TrainedRun) -> None:
    ids = read(counted, "abcdabcdabcd")
    (a,) = read(counted, "a")
    before = inspect.logits(counted, ids)[-1]
    found = inspect.interventions(counted, ids)
    p = {name: logits.softmax(-1)[a] for name, logits in found.items() if name.startswith("without")}
    assert before.softmax(-1)[a] > 0.5
    assert p["without_attention"] > 0.5
    assert p["without_counts"] < 0.2
    # Trust and counts are what the model adds to the network's own logits.
    assert found["counts_seen"][2] == 2 * 6 + small_corpus()[:18_000].count("bcd")
    assert found["counts_p"].sum(-1).allclose(torch.ones(()))
    weighted = (found["counts_trust"][:, None] * found["counts_p"].log()).sum(0)
    with torch.no_grad():
        model, idx = counted.model, torch.tensor([ids])
        x = model.norm(model.blocks(model.embedding(idx) + model.expected(model.ngrams(idx)[0].flatten(-2))))
        network = model.lm_head(x)[0, -1]
    assert before.allclose(network + weighted, atol=1e-4)
    assert torch.equal(inspect.logits(counted, ids)[-1], before)  # the run itself is as it was


def test_translations_come_with_scores_and_attention(several: Path) -> None:
    run = gpt.load(runs=several / "runs", stage="transformer", device="cpu")
    found = translating.translations(run, "a b c €", beam=3, length_penalty=1.0)
    assert found["source"][-1] == "end"
    assert len(found["beams"]) == 3
    scores = [beam["score"] for beam in found["beams"]]
    assert scores == sorted(scores, reverse=True)
    best = found["beams"][0]
    assert best["text"] == run.generate("a b c", beam=3)
    # The score is what the model itself gives the translation.
    source = run.task.tokenizer.encode_all(["a b c"])[0]
    with torch.no_grad():
        logits = run.model(torch.tensor([[*source, END]]), torch.tensor([[BEGIN, *best["ids"]]]))[0]
    logits[:, [PAD, BEGIN]] = -torch.inf  # which the search never chooses
    target = torch.tensor([*best["ids"], END])
    log_probability = logits.log_softmax(-1).gather(1, target[:, None]).sum().item()
    assert best["score"] == pytest.approx(log_probability / ((5 + len(target)) / 6), abs=1e-3)

    weights = translating.cross_attention(run, "a b c €", best["ids"])
    assert len(weights) == len(run.model.decoder)
    for layer in weights.values():
        assert layer.shape[1:] == (len(best["ids"]) + 1, len(source) + 1)
        assert layer.sum(-1).allclose(torch.ones(()))
