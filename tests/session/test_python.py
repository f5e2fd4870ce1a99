"""`gpt.train` and `gpt.load` in a program of one's own: what they return, and that they leave no trace in it."""

import contextlib
import logging
import math
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo.config as dynamo
import torch._functorch.config as functorch
import torch._inductor.config as inductor
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

import gpt
from gpt import models
from gpt.base import runtime
from gpt.base.errors import RequestError
from gpt.models import v1_bigram
from gpt.session.user_module import Module, UserModule
from gpt.training import memory
from gpt.training.compilation import compiler_options
from gpt.training.trainer import Trainer
from tests.conftest import REPOSITORY

SHORT = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1", "device=cpu"]


class Bigram(nn.Module):
    """A table, as a notebook's cell would define it."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.block_size = 8
        self.table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        return self.table(idx)


@pytest.fixture
def corpus(corpus_file: Path) -> list[str]:
    return [*SHORT, "data=text", f"data.path={corpus_file}"]


def test_it_trains_what_the_command_line_trains(corpus: list[str], tmp_path: Path) -> None:
    in_memory, written = gpt.train("model=v2", *corpus), gpt.train("model=v2", *corpus, folder=tmp_path / "run")
    assert in_memory.folder is None
    assert written.folder == tmp_path / "run"
    assert in_memory.summary.exact == written.summary.exact
    assert gpt.load(tmp_path / "run", weights="last").loss("abc abc") == in_memory.loss("abc abc")


def state() -> dict[str, Any]:
    """Whatever of this process and of PyTorch a training could change."""
    cuda, logger = torch.backends.cuda, logging.getLogger("gpt")
    return {
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "attention": [
            cuda.cudnn_sdp_enabled(),
            cuda.flash_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
            cuda.math_sdp_enabled(),
        ],
        "compiler": [module.get_config_copy() for module in (functorch, inductor, dynamo)],
        "precision": (torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "threads": torch.get_num_threads(),
        "random": (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": ([*logger.handlers], logger.level, logger.propagate, logging.raiseExceptions),
        "warnings": ([*warnings.filters], warnings.showwarning),
        "process": (dict(os.environ), Path.cwd(), [*sys.argv], [*sys.path], sys.stdout, sys.stderr),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
    }


def test_the_program_around_it_stays_as_it_was(
    corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(call: Callable[[], Any]) -> Any:
        before = state()
        try:
            return call()
        except gpt.UserError as error:
            return error
        finally:
            assert state() == before

    train = partial(gpt.train, "model=v1", *corpus)
    monkeypatch.setattr(runtime, "keep_freed_memory", None)  # which cannot be undone
    torch.manual_seed(5)
    first = check(partial(train, "deterministic=true", folder=tmp_path / "run"))
    with contextlib.ExitStack() as stack:  # a program with its own settings
        stack.callback(torch.use_deterministic_algorithms, mode=False)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_num_threads(3)
        second = check(partial(train, "deterministic=false"))
        assert first.summary.exact == second.summary.exact
        for wrong in (["training.max_iters=0"], ["data.path=nowhere"]):
            assert isinstance(check(partial(train, "deterministic=true", *wrong)), gpt.UserError)
        run = check(partial(gpt.load, tmp_path / "run"))
        check(partial(gpt.load, tmp_path / "run", module=Bigram))
        check(partial(gpt.load, tmp_path))
        for use in (run.generate, run.loss, run.losses, run.loss_of, run.next_token, run.attention):
            assert not isinstance(check(partial(use, "abc")), gpt.UserError)

    def compiles() -> None:
        with compiler_options(torch.device("cpu")):
            assert functorch.aggressive_recomputation

    check(compiles)


def test_a_module_of_ones_own_is_trained_and_reopened(
    corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = gpt.train(*corpus, "optimizer=sgd", "schedule=cosine", module=Bigram)
    assert (run.summary.stage, run.summary.documented.val) == ("Bigram", None)
    weights = run.model.state_dict()["table.weight"].clone()
    again = gpt.train(*corpus, "training.learning_rate=0.1", module=run.model, folder=tmp_path / "run")
    assert not torch.equal(again.model.state_dict()["table.weight"], weights)
    opened = gpt.load(tmp_path / "run", module=Bigram, device="cpu")
    assert opened.loss("abc abc") == again.loss("abc abc")
    with pytest.raises(gpt.UserError, match="module=Bigram"):
        gpt.load(tmp_path / "run")


def test_only_equal_modules_are_repetitions() -> None:
    """Unless each seed makes its own, the weights at the start count, too."""

    def told(module: Module) -> str:
        made: Any = UserModule(module)
        return repr(made.identity(made(10), has_own_weights=True))

    assert told(Bigram) == told(Bigram)
    modules = [Bigram, bigram(block_size=4), bigram(part=nn.Linear(2, 3)), bigram(part=nn.Dropout()), Bigram(10)]
    assert len({told(module) for module in [*modules, Bigram(10)]}) == 6


def test_threads_train_one_after_the_other(corpus: list[str]) -> None:
    losses: list[float] = []
    train = lambda: losses.append(gpt.train("model=v1", *corpus).summary.exact.nats)  # noqa: E731
    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert losses == [gpt.train("model=v1", *corpus).summary.exact.nats] * 2


def test_a_folder_may_have_any_name(corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = """???~x'"${a}, [b]=c"""
    assert gpt.train("model=v1", *corpus, folder=name).folder == Path(name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert gpt.load(name).run.record().commands[0].command.endswith(f"folder={name!r})")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: gpt.train("model=v99"), r"model=v9\?"),
        (lambda: gpt.train("hydra.run.dir=x"), "folder="),
        (lambda: gpt.train("model=v1", folder=b"runs/mine"), "folder=b'runs/mine'"),
        (lambda: gpt.train(["model=v5"]), "model=v5"),
        (lambda: gpt.train(Bigram), "module="),
        (lambda: gpt.train("v2", max_iter=3), "training.max_iters"),
        (lambda: gpt.load(device="foo"), "device=foo"),
        (lambda: gpt.load("a\0b"), "null"),
    ],
)
def test_a_wrong_argument_is_a_user_error(call: Callable[[], object], word: str) -> None:
    with pytest.raises(gpt.UserError, match=word):
        call()


@contextlib.contextmanager
def unusual(read: Callable[[], Any], change: Callable[[Any], None], value: Any) -> Iterator[None]:
    """A program with another setting of PyTorch's, which has no context of its own."""
    before = read()
    change(value)
    try:
        yield
    finally:
        change(before)


MODES = {
    "usual": [
        torch.no_grad,
        partial(unusual, torch.get_default_dtype, torch.set_default_dtype, torch.float64),
        partial(unusual, torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
        partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    ],
    "inference_mode": [torch.inference_mode],
    "device": [partial(torch.device, "meta")],
}


@pytest.mark.parametrize("modes", MODES.values(), ids=MODES)
def test_the_modes_of_the_program_around_it_change_nothing(
    corpus: list[str], tmp_path: Path, modes: list[Callable[[], contextlib.AbstractContextManager]]
) -> None:
    expected = gpt.train("model=v2", *corpus)
    with contextlib.ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode())
        before = (state()["modes"], state()["precision"], torch.get_default_device())
        run = gpt.train("model=v2", *corpus, folder=tmp_path / "run")
        assert run.summary.exact == expected.summary.exact
        assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
        last = gpt.load(tmp_path / "run", weights="last")
        assert all(parameter.requires_grad for parameter in last.model.parameters())
        if modes is not MODES["device"]:
            assert last.loss("abc abc") == expected.loss("abc abc")
        assert (state()["modes"], state()["precision"], torch.get_default_device()) == before
    assert gpt.load(tmp_path / "run", weights="last").loss("abc abc") == expected.loss("abc abc")
    gpt.train(*corpus, module=run.model)


def bigram(
    *, part: nn.Module | None = None, block_size: int = 8, logits: Callable[[Tensor], object] | None = None
) -> Callable[[int], nn.Module]:
    """What makes a module with another part, another window or changed logits."""

    def make(vocab_size: int) -> nn.Module:
        model = Bigram(vocab_size)
        model.part, model.block_size = part, block_size
        if logits is not None:
            model.forward = lambda idx: logits(model.table(idx))  # type: ignore[method-assign]
        return model

    return make


def without_parameters(_: int) -> nn.Module:
    model = nn.Identity()
    model.block_size = 8
    return model


class Stateful(nn.Module):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 1}


class Halved(Bigram):
    """All but its last two logits are the next tokens."""

    def forward(self, idx: Tensor) -> Tensor:
        logits = self.table(idx)
        shown = nn.functional.one_hot(idx[:, 1:-1], logits.shape[-1]).to(logits)
        return torch.cat([logits[:, :-2] + 9 * shown, logits[:, -2:]], dim=1)


class FixedLength(Bigram):
    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.places = nn.Parameter(torch.zeros(8, 1))

    def forward(self, idx: Tensor) -> Tensor:
        return self.table(idx) + self.places


class Writing(Bigram):
    """It writes to the token ids, of which the targets are a part."""

    def __init__(self, vocab_size: int, *, by_numpy: bool = False) -> None:
        super().__init__(vocab_size)
        self.by_numpy = by_numpy

    def forward(self, idx: Tensor) -> Tensor:
        if self.by_numpy:
            idx.numpy()[:] = 0
        else:
            idx.zero_()
        return super().forward(idx)


def masked(logits: Tensor) -> Tensor:
    return logits.index_fill(2, torch.tensor([0]), -math.inf)


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (bigram(part=nn.LazyLinear(3)), r"part\.weight"),
        (bigram(part=Stateful()), r"part\._extra_state"),
        (bigram(logits=lambda logits: logits + logits.flip(1)), "no language model"),
        (Halved, "no language model"),
        (FixedLength, "1 to block_size=8"),
        (bigram(logits=lambda x: x + x.mean(0) if len(x) > 20 else x), "other rows"),
        (bigram(logits=lambda logits: logits + logits.roll(1, 0)), "other rows"),
        (bigram(logits=lambda logits: logits + logits.cumsum(0)), "other rows"),
        (bigram(logits=Tensor.detach), "detaches"),
        (bigram(logits=lambda logits: logits * random.random()), "on the call"),
        (bigram(logits=lambda logits: masked(logits + logits.flip(1))), "comes later"),
        (bigram(logits=lambda logits: logits * math.nan), "nan"),
        (Writing, "ids"),
        (lambda V: Writing(V, by_numpy=True), "ids"),
        (bigram(logits=lambda logits: logits[..., :-1]), r"\(B, T, V\)"),
        (bigram(logits=lambda _: None), "NoneType"),
        (bigram(block_size=0), "block_size"),
        (without_parameters, "Identity"),
        (lambda V: Bigram(V).requires_grad_(requires_grad=False), "requires_grad"),
        (lambda _: None, "NoneType"),
        (lambda *, vocab_size: Bigram(vocab_size), "vocab_size=V"),
        (lambda vocab_size, width: Bigram(vocab_size * width), "width"),
        (5, "module is int"),
    ],
)
def test_a_module_that_does_not_fit_is_a_user_error(corpus: list[str], module: Any, word: str) -> None:
    with pytest.raises(gpt.UserError, match=word):
        gpt.train(*corpus, module=module)


def test_a_leak_that_is_learned_leaves_no_summary(corpus: list[str], tmp_path: Path) -> None:
    class Gated(Bigram):
        """Its gate to the next token is closed at first."""

        def __init__(self, vocab_size: int) -> None:
            super().__init__(vocab_size)
            self.gate = nn.Parameter(torch.zeros(()))

        def forward(self, idx: Tensor) -> Tensor:
            logits = self.table(idx)
            return logits + self.gate * nn.functional.one_hot(idx.roll(-1, 1), logits.shape[-1])

    with pytest.raises(gpt.UserError, match="no language model"):
        gpt.train(*corpus, module=Gated, folder=tmp_path / "run")
    assert (tmp_path / "run" / "last.safetensors").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


def test_an_unusual_module_is_trained_and_left_as_it_was(corpus: list[str], tmp_path: Path) -> None:
    """It has transposed double weights, a lock, which cannot be copied, and counts its updates as BatchNorm does."""

    class Unusual(Bigram):
        updates = 0

        def __init__(self, vocab_size: int) -> None:
            super().__init__(vocab_size)
            self.double()
            self.table.weight = nn.Parameter(self.table.weight.detach().T.contiguous().T)
            self.dropout = nn.Dropout(0.5)

        def forward(self, idx: Tensor) -> Tensor:
            self.updates += self.training
            return self.dropout(self.table(idx))

    assert (run := gpt.train(*corpus, module=Unusual)).model.updates == run.summary.iterations == 4

    def locked(vocab_size: int) -> nn.Module:
        model = Unusual(vocab_size)
        model.busy = threading.Lock()
        return model

    assert gpt.train(*corpus, module=locked, folder=tmp_path / "run").summary.iterations == 4


@pytest.mark.parametrize("folder", [None, "run"])
def test_ctrl_c_in_a_session_keeps_the_trained_model(
    folder: str | None, corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.chdir(tmp_path)
    step, kept = Trainer.count_step, []

    def interrupted(trainer: Trainer, *args: Any) -> None:
        step(trainer, *args)
        if trainer.state.iteration == 50:
            kept.append(trainer.model)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "count_step", interrupted)
    run = gpt.train("v1", *corpus[1:], max_iters=10**6, folder=folder)
    assert run.interrupted
    assert [run.model] == kept
    assert run.history[-1]["iteration"] == 48  # evaluated every second one
    assert len(run.generate(tokens=10)) == 10
    assert run._repr_html_() is None
    with pytest.raises(gpt.UserError):
        run.summary  # noqa: B018


def test_after_a_keyboard_interrupt_it_trains_again(corpus: list[str], tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text(
        "import os, pathlib, signal, sys, threading, time, gpt\n"
        "corpus = sys.argv[1:]\n"
        "handler = signal.getsignal(signal.SIGINT)\n"
        "gpt.train('model=v1', *corpus)\n"  # everything is imported
        "def interrupt():\n"
        "    metrics = pathlib.Path('run/metrics.jsonl')\n"
        "    while not metrics.exists() or len(metrics.read_text().splitlines()) < 2:\n"  # it has made a step
        "        time.sleep(0.1)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "try:\n"
        "    gpt.train('model=v1', *corpus, 'training.max_iters=1000000', folder='run')\n"
        "except KeyboardInterrupt as stopped:\n"
        "    print(stopped)\n"
        "assert signal.getsignal(signal.SIGINT) is handler\n"
        "print(gpt.train('model=v1', *corpus).summary.iterations)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "cell.py", *corpus]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    stopped, iterations = done.stdout.splitlines()
    assert stopped.startswith("stopped at iteration ")
    assert "resume=run" in stopped
    assert iterations == "4"
    assert any((tmp_path / "run" / "checkpoints").iterdir())


def test_a_finished_run_is_resumed_as_itself(corpus: list[str], tmp_path: Path) -> None:
    run = gpt.train("v1", *corpus, folder=tmp_path / "run")
    assert gpt.train(f"resume={run.folder}").folder == run.folder


def test_keys_may_be_given_by_their_last_part(corpus: list[str]) -> None:
    with pytest.raises(RequestError, match="max_iters="):
        gpt.train("v2", iters=3, max_iters=4)
    run = gpt.train("v2", *corpus[1:], max_iters=3, lr=0.5, seed=7, tags=["a", "b"])
    config = run.config
    assert (config.training.max_iters, config.training.learning_rate, config.seed, config.tags) == (
        3,
        0.5,
        7,
        ["a", "b"],
    )
    assert [row["iteration"] for row in run.history] == [0, 2, 3]
    assert run.history[-1]["val"] == run.summary.estimated.val.nats
    assert "<td" in run.history._repr_html_()


def test_a_notebook_shows_a_run_as_a_card(corpus: list[str], tmp_path: Path) -> None:
    in_memory, written = gpt.train("v2", *corpus), gpt.train("v2", *corpus, folder=tmp_path / "<run>")
    for run, place in ((in_memory, "in memory"), (written, "&lt;run&gt;")):
        card = run._repr_html_()
        assert place in card
        assert f"{run.summary.exact.nats:.4f}" in card
        assert "data:image/png;base64,iVBOR" in card
        assert run.plot()._repr_png_().startswith(b"\x89PNG")
        assert not run.interrupted
    assert repr(in_memory) == "<v2, last weights, in memory>"
    assert f"{written.summary.exact.nats:.4f}" in repr(gpt.compare(written.folder))
    assert repr(written) == f"<v2, best weights of {tmp_path / '<run>'}>"


def test_a_notebook_shows_an_error_as_one_line() -> None:
    with pytest.raises(gpt.UserError) as found:
        gpt.train("v2", "training.max_iter=3")
    assert found.value._render_traceback_() == [f"RequestError: {found.value}"]  # what IPython shows
    assert found.value.__cause__ is None
    assert found.value.__suppress_context__
    assert "hydra" not in " ".join(str(entry.path) for entry in found.traceback)


def test_importing_it_is_quick() -> None:
    """No library that takes long is imported before it is used."""
    code = "import sys, gpt; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert {"gpt"} <= {*done.stdout.split()}
    assert {"torch", "pydantic", "hydra", "numpy", "matplotlib"}.isdisjoint(done.stdout.split())


def test_a_model_too_large_for_memory_is_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gpt.train("model=v1", "debug=fast", folder=tmp_path / "run")
    monkeypatch.setattr(memory, "memory_of", lambda device: 2**14)  # bytes: its weights alone take more
    devices, build = set(), models.build

    def noted(*given: Any) -> nn.Module:
        model = build(*given)
        devices.add(next(model.parameters()).device.type)
        return model

    monkeypatch.setattr(models, "build", noted)
    for start in (
        lambda: gpt.train("model=v1", "debug=fast"),
        lambda: gpt.train(f"resume={run.folder}", "training.max_iters=4", folder=run.folder),
        lambda: gpt.load(run.folder),
    ):
        with pytest.raises(RequestError, match="memory"):
            start()
    assert devices == {"meta"}


def test_a_stage_that_sees_the_future_is_not_trained(corpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    forward = v1_bigram.Bigram.forward
    monkeypatch.setattr(v1_bigram.Bigram, "forward", lambda self, idx: forward(self, idx) + forward(self, idx.flip(1)))
    with pytest.raises(gpt.UserError, match="no language model"):
        gpt.train("v1", *corpus)
