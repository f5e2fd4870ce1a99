"""Estimates are means over random batches; the exact loss is what a hand computes."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.base.ladder import LADDER
from gpt.data.corpus import TextCorpus
from gpt.data.text import TextData
from gpt.data.tokenizers.bytes import ByteTokenizer
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.tasks.continuation import Continuation
from gpt.training.evaluation import estimated_losses, exact_loss, mean_loss, tokens_per_pass
from gpt.training.state import State
from tests.conftest import CPU, build, build_small, split_text, text_data
from tests.training.helpers import VOCAB_SIZE, configured, small_trainer


class Fixed(nn.Module):
    """The same probabilities after every token, whatever came before."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()
        self.block_size = 4

    def forward(self, idx: Tensor) -> Tensor:
        return self.logits.expand(*idx.shape, -1)


def test_exact_loss_of_a_hand_computed_case() -> None:
    # val is "abbabbbab": of its 8 targets 2 are a and 6 are b; 8 = two windows of 3 and one of 2.
    data = text_data("ab" * 4 + "a" + "abbabbbab", block_size=3, train_fraction=0.5)
    exact = exact_loss(Fixed([0.25, 0.75]), data, "val", runtime=CPU)
    assert exact.nats == pytest.approx(-(2 * math.log(0.25) + 6 * math.log(0.75)) / 8, abs=1e-6)
    assert (exact.over.count, exact.over.of, exact.over.characters, exact.over.bytes) == (8, 8, 8, 8)


def test_the_exact_loss_is_that_of_windows_token_by_token(data: TextData) -> None:
    model = build_small("v5", vocab_size=VOCAB_SIZE).eval()
    ids = data.ids("val")
    losses, T = [], model.block_size
    for start in range(0, len(ids) - 1, T):
        window = ids[start : start + T + 1]
        for t in range(1, len(window)):  # each prediction from a pass of its own, over the tokens before it alone
            losses.append(-model(window[None, :t])[0, -1].double().log_softmax(-1)[window[t]].item())
    exact = exact_loss(model, data, "val", runtime=CPU)
    assert (exact.over.count, exact.nats) == (len(losses), pytest.approx(math.fsum(losses) / len(losses), abs=1e-5))


def test_a_loss_per_character_counts_the_characters_of_its_targets() -> None:
    corpus = TextCorpus("x" * 20, "aé€" * 40)
    bytes_of = TextData(corpus, ByteTokenizer(), block_size=4)
    model = Fixed([1 / 256] * 256)  # 8 bits a byte
    for most in (None, 60):
        exact = exact_loss(model, bytes_of, "val", most=most, runtime=CPU)
        assert exact.bits_per("byte") == pytest.approx(8, abs=1e-5)
        assert exact.per("character") == pytest.approx(2 * exact.nats, rel=0.1)  # six bytes are three characters
    whole = exact_loss(model, bytes_of, "val", runtime=CPU)
    assert (whole.over.count, whole.over.characters, whole.over.bytes) == (239, 119, 239)


@pytest.mark.parametrize("stage", ["v5", "v9"])
def test_a_sample_of_targets_spans_the_split(stage: str, text: str) -> None:
    model = build_small(stage, vocab_size=VOCAB_SIZE)
    data = Continuation(CharTokenizer(text)).data(split_text(text, 0.5), model, torch.device("cpu"))
    whole = exact_loss(model, data, "train", runtime=CPU)
    sample = exact_loss(model, data, "train", most=2000, runtime=CPU)
    T = model.block_size
    assert (sample.over.count, sample.over.of) == (2000 // T * T, whole.over.count)
    assert sample.over.counted == f"{sample.over.count:,} of 9,999"
    assert sample.nats == pytest.approx(whole.nats, abs=0.1)
    seen = torch.cat([batch.inputs[0] for batch in data.every_target_once("train", 4096, 2000)])
    rows = {tuple(row) for row in seen.tolist()}
    adjacent = [tuple(row) for batch in data.every_target_once("train", 4096) for row in batch.inputs[0].tolist()]
    places = [i for i, row in enumerate(adjacent) if row in rows]
    assert places[0] < 10
    assert places[-1] > len(adjacent) - 10


def test_estimate_is_the_mean_over_its_batches(data: TextData) -> None:
    """Joining batches into larger passes, as the estimate does, changes nothing but rounding."""
    model = build_small("v3", vocab_size=VOCAB_SIZE)
    estimate = mean_loss(model, data.estimation_batches("train", 3, 0, 20, 5, 256), "", CPU).item()
    passes = list(data.estimation_batches("train", 3, 0, 20, 5, 256))
    assert sum(len(batch.targets) for batch in passes) == 20 * 5
    assert all(batch.tokens <= 256 for batch in passes)
    rows = [row for batch in passes for row in zip(batch.inputs[0], batch.targets, strict=True)]
    losses = [cross_entropy(model(x[None])[0], y) for x, y in rows]
    assert estimate == pytest.approx(torch.stack(losses).double().mean().item(), abs=1e-6)


def test_evaluation_turns_dropout_off_and_then_on_again(data: TextData) -> None:
    model = build_small("v7", vocab_size=VOCAB_SIZE, dropout=0.5, block_size=8).train()
    first, second = (exact_loss(model, data, "val", runtime=CPU) for _ in range(2))
    assert first == second
    assert model.training


def test_estimates_depend_on_the_seed_and_the_iteration_alone(data: TextData) -> None:
    trainer = small_trainer("v5")

    def estimate(seed: int, iteration: int) -> tuple[float, float]:
        settings = {"eval_iters": 2, "batch_size": 4, "state": State(iteration=iteration)}
        return estimated_losses(configured(trainer, data, seed=seed, **settings))

    first = estimate(1, 10)
    torch.manual_seed(99)
    assert estimate(1, 10) == first
    assert len({first, estimate(2, 10), estimate(1, 20)}) == 3
    for split, loss in zip(("train", "val"), first, strict=True):
        batches = data.estimation_batches(split, 1, 10, 2, 4, 4096)
        assert loss == pytest.approx(mean_loss(trainer.model, batches, "", CPU).item(), abs=1e-9)


def test_a_pass_of_each_documented_stage_has_4096_tokens() -> None:
    assert {tokens_per_pass(CPU, build(stage)) for stage in (*LADDER, "v8", "v9")} == {4096}


def test_a_pass_is_smaller_for_a_large_vocabulary() -> None:
    assert tokens_per_pass(CPU, build("v1", vocab_size=4_000)) == 4096
    wide = build_small("v5", vocab_size=100_000, n_embd=4)
    assert tokens_per_pass(CPU, wide) * 100_000 * 4 <= 2**28
