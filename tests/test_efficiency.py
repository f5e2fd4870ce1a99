"""What makes the loop fast cannot be lost unseen: these tests count operations, they do not clock."""

import shutil
from collections import Counter

import pytest
import torch
import torch._dynamo.utils
from torch.utils._python_dispatch import TorchDispatchMode

from gpt.data import TextData
from gpt.device import Runtime
from gpt.evaluation import mean_loss, tokens_per_pass
from gpt.sampling import generate
from gpt.seeding import generator
from gpt.trainer import Trainer
from tests.conftest import build_small, training_config
from tests.test_sampling import sampling

CPU = Runtime(torch.device("cpu"))


class Count(TorchDispatchMode):
    """Count the operations that reach PyTorch's kernels, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def operations_of_training(data: TextData, stage: str = "v5", **changes: object) -> Counter:
    model = build_small(stage, vocab_size=len(data.tokenizer))
    with Count() as count:
        Trainer(model, data, training_config(**changes), seed=1, runtime=CPU).train()
    return count.calls


def test_a_step_costs_as_many_operations_for_any_batch_size(data: TextData) -> None:
    assert operations_of_training(data, batch_size=2) == operations_of_training(data, batch_size=64)


def test_a_batch_is_one_draw_and_one_lookup(data: TextData) -> None:
    with Count() as count:
        data.batch("train", 64, generator(0))
    assert count.calls["randint"] == 1
    assert count.calls["index"] == 1
    assert count.calls.total() < 10


def test_an_update_is_one_kernel_a_group_of_parameters(data: TextData) -> None:
    calls = operations_of_training(data, max_iters=7)
    assert calls["_fused_adamw_"] == 7 * 2  # those that decay, those that do not
    assert not any(name.startswith(("addcmul", "addcdiv", "_foreach_lerp")) for name in calls)


def test_the_loop_reads_a_number_only_to_show_it(data: TextData) -> None:
    """Reading a number makes the device wait: those of an evaluation are read together, those of the result at last."""
    calls = operations_of_training(data, max_iters=20, eval_interval=10)
    assert calls["_local_scalar_dense"] <= 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler to compile with")
@pytest.mark.parametrize("stage", ["v5", "v7"])
def test_a_compiled_loss_is_the_loss_and_is_compiled_once(data: TextData, stage: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    results = []
    for is_compiled in (False, True):
        model = build_small(stage, vocab_size=len(data.tokenizer), **({"dropout": 0.0} if stage == "v7" else {}))
        results.append(
            Trainer(model, data, training_config(), seed=1, runtime=CPU, compile=is_compiled).train().last.val
        )
    assert results[1] == pytest.approx(results[0], abs=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_an_evaluation_joins_its_batches(data: TextData) -> None:
    model = build_small("v5", vocab_size=len(data.tokenizer))
    with Count() as count:
        mean_loss(model, data.estimation_batches("val", 0, 0, 200, 32, tokens_per_pass(CPU)), "", CPU)
    assert count.calls["randint"] == 13  # passes over 4,096 tokens each, and not 200


def test_decoding_with_a_cache_never_grows_a_tensor() -> None:
    model = build_small("v7")
    with Count() as count:
        list(generate(model, torch.tensor([1]), sampling(tokens=60)))
    assert count.calls["cat"] == 0
    assert count.calls["embedding"] == 60  # one pass a character, also where a full window is read again
