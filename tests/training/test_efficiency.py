"""What makes the loop fast and small cannot be lost unseen: these tests count operations, they do not clock."""

from collections import Counter
from pathlib import Path

import pytest
import torch
import torch._dynamo.utils
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.text import TextData
from gpt.runs.folder import RunFolder
from gpt.tasks.decoding.sampling import generate
from gpt.training.averaging import WeightAverage
from gpt.training.evaluation import mean_loss, tokens_per_pass
from gpt.training.loop import train
from gpt.training.memory import recompute_blocks
from gpt.training.trainer import Trainer
from gpt.training.watchers import NonFiniteGuard, Watcher
from gpt.watching.console import ConsoleLog, ProgressBar
from gpt.watching.recorder import Recorder
from tests.conftest import CPU, build_small, empty_run
from tests.training.helpers import (
    VOCAB_SIZE,
    checkpoints,
    configured,
    losses,
    small_trainer,
    train_small,
    train_up,
    weights,
)

pytestmark = pytest.mark.slow


class Count(TorchDispatchMode):
    """Count the operations that reach PyTorch's kernels, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        by_mask = name == "index" and any(i is not None and i.dtype is torch.bool for i in args[1])
        self.calls["index by mask" if by_mask else name] += 1
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Count the calls that bring a number from the device, for which the program has to wait."""

    METHODS = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__format__")
    OPERATIONS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "index by mask", "equal")

    def __init__(self) -> None:
        super().__init__()
        self._methods, self._operations = 0, Count()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self._methods += getattr(func, "__name__", "") in self.METHODS
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self._operations.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._operations.__exit__(*error)

    @property
    def count(self) -> int:
        return self._methods + sum(self._operations.calls[name] for name in self.OPERATIONS)


def operations_of_training(data: TextData, **changes: object) -> Counter:
    with Count() as count:
        train_small("v5", data, **changes)
    return count.calls


def test_a_step_costs_as_many_operations_for_any_batch_size(data: TextData) -> None:
    calls = operations_of_training(data, max_iters=7, batch_size=2)
    assert operations_of_training(data, max_iters=7, batch_size=64) == calls
    assert calls["_fused_adamw_"] == 7 * 2  # one for the parameters that decay, one for the others
    assert not any(name.startswith(("addcmul", "addcdiv", "_foreach_lerp")) for name in calls)
    assert calls["_amp_foreach_non_finite_check_and_unscale_"] == 7  # one looks for NaN and Inf
    assert calls["isfinite"] == 0


def test_a_batch_is_one_draw_and_one_lookup(data: TextData) -> None:
    with Count() as count:
        data.batch("train", 64, generator(0))
    assert count.calls["randint"] == count.calls["index"] == 1
    assert count.calls.total() < 10


def test_an_evaluation_joins_its_batches(data: TextData) -> None:
    model = build_small("v1", vocab_size=VOCAB_SIZE)
    with Count() as count:
        mean_loss(model, data.estimation_batches("val", 0, 0, 200, 32, tokens_per_pass(CPU, model)), "", CPU)
    assert count.calls["randint"] == 13  # passes over 4,096 tokens each, and not 200


def watchers_of_train_py(trainer: Trainer, run: RunFolder) -> list[Watcher]:
    guard = NonFiniteGuard(trainer)
    return [guard, WeightAverage(0), Recorder(trainer, run, guard), ConsoleLog(), ProgressBar(trainer)]


@pytest.mark.parametrize(
    ("stage", "optimizer", "is_watched", "changes"),
    [
        ("v1", "adamw", False, {}),
        ("v7", "adamw", False, {"grad_clip": 1.0}),
        ("v7", "muon", False, {"grad_accumulation": 4}),
        ("v5", "adamw", True, {}),
    ],
)
def test_more_steps_read_no_more_numbers_from_the_device(
    stage: str, optimizer: str, is_watched: bool, changes: dict, data: TextData, tmp_path: Path
) -> None:
    """Reading a number makes the program wait for the device; twice as many steps in between read no more."""
    counts = []
    for max_iters in (20, 40):
        trainer, run = small_trainer(stage, optimizer=optimizer), empty_run(tmp_path / str(max_iters))
        intervals = {"eval_interval": max_iters // 2, "log_interval": max_iters // 4 if is_watched else None}
        saving = checkpoints(interval=max_iters // 4, min_seconds=0.0)
        configured(trainer, data, max_iters=max_iters, checkpoint=saving, **intervals, **changes)
        watchers = watchers_of_train_py(trainer, run) if is_watched else []
        with Reads() as reads:
            train(trainer, watchers)
        counts.append(reads.count)
    assert counts[0] == counts[1]
    assert is_watched or counts[0] == 3  # both losses of an evaluation are read together


def test_decoding_with_a_cache_never_grows_a_tensor() -> None:
    model = build_small("v7")
    with Count() as count:
        list(
            generate(
                model, torch.tensor([1]), tokens=40, num_samples=1, temperature=1.0, top_k=None, top_p=None, seed=0
            )
        )
    assert count.calls["cat"] == 0
    assert count.calls["embedding"] == 40  # one pass a character, also where a full window is read again


@pytest.mark.parametrize("stage", ["v7", "v9"])
def test_recomputed_activations_do_not_change_losses_or_weights(stage: str, data: TextData) -> None:
    trainer = small_trainer(stage)
    recompute_blocks(trainer.model)
    torch.manual_seed(1)
    train_up(trainer, data)
    expected = train_small(stage, data)
    assert losses(trainer) == losses(expected)
    assert weights(trainer) == weights(expected)


def test_only_the_input_of_each_recomputed_block_is_kept() -> None:
    kept: list[int] = []

    def size(recompute: bool) -> int:
        model = build_small("v7", n_layer=4).train()
        if recompute:
            recompute_blocks(model)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            model(torch.zeros(8, 16, dtype=torch.int64))
        return sum(kept)

    assert size(recompute=True) < size(recompute=False) / 3


def test_a_stage_without_blocks_to_recompute_is_refused() -> None:
    with pytest.raises(RequestError, match=r"training\.recompute"):
        recompute_blocks(build_small("v3"))
