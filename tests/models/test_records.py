"""The stages of the records: each is hybrid or v9, except for what it adds."""

import pytest
import torch

import gpt
from gpt.models import v9_counts
from tests.conftest import build_small

IDX = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])


def test_v9_with_recurrences_has_hybrids_blocks_and_v9s_counts() -> None:
    model, layers = build_small("v9_with_recurrences", n_layer=3), ("recurrence", "recurrence", "attention")
    assert [hasattr(block, layer) for block, layer in zip(model.blocks, layers, strict=True)] == [True] * 3
    assert isinstance(model, v9_counts.GPT)
    alone, v9 = build_small("v9_with_recurrences", n_layer=1, seed=1), build_small("v9", n_layer=1, seed=1)
    alone.load_state_dict(v9.state_dict())
    assert torch.equal(alone(IDX), v9(IDX))


@torch.no_grad()
def test_an_ngram_embedding_reads_as_far_as_its_longest_ngram() -> None:
    model = build_small("hybrid_with_ngrams", ngrams=3, rows=101)
    changed = IDX.clone()
    changed[:, 2] += 1
    differs = (model.embedding(changed) != model.embedding(IDX)).any(-1)
    assert differs.tolist() == [[t in (2, 3, 4) for t in range(8)]] * 2


@torch.no_grad()
def test_ngram_embeddings_of_zero_leave_the_hybrid() -> None:
    model, full = build_small("hybrid_with_ngrams", ngrams=3, rows=101), build_small("hybrid")
    state = full.state_dict()
    state["embedding.token.weight"] = state.pop("embedding.weight")
    model.load_state_dict(state | {"embedding.table.weight": torch.zeros(101, 32)})
    assert torch.equal(model(IDX), full(IDX))


def test_members_train_on_their_own_rows_and_answer_together() -> None:
    model, alone = build_small("hybrid_with_members", members=2), build_small("hybrid")
    probabilities, names = [], alone.state_dict()
    for member in model.members:
        alone.load_state_dict({name: x for name, x in model.state_dict().items() if name in names}, strict=False)
        alone.blocks.load_state_dict(member.state_dict())
        probabilities.append(alone(IDX).softmax(-1))
    torch.testing.assert_close(model(IDX).softmax(-1), torch.stack(probabilities).mean(0))
    torch.testing.assert_close(model.train()(IDX)[1].softmax(-1), probabilities[1][1])
    model(IDX)[0].sum().backward()
    assert [any(p.grad.any() for p in member.parameters()) for member in model.members] == [True, False]


@pytest.mark.parametrize("changed", ["training.grad_accumulation=2", "training.batch_size=1"])
def test_members_take_whole_batches_alone(changed: str) -> None:
    small = ["model.block_size=8", "model.n_embd=32", "model.n_head=4", "model.n_layer=2", "device=cpu"]
    with pytest.raises(gpt.UserError, match=changed.partition("=")[0]):
        gpt.train("hybrid_with_members", *small, "training.max_iters=1", changed)
