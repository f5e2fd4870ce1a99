"""Compiled training steps: slower to start, then faster.

torch.compile imports the compiler and traces the model in every process, which takes five seconds of a 20-second run.
For a small stage on a CPU, AOTInductor writes a library instead, which loads in milliseconds. It is kept in the user's
cache for later runs with the same code, shapes, hyperparameters, threads, processor and PyTorch.
"""

import contextlib
import hashlib
import logging
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn
from torch.func import functional_call

import gpt.models
from gpt.base.errors import UserError
from gpt.base.files import attempt, write_atomically
from gpt.base.runtime import Runtime, is_large
from gpt.data.batch import Batch
from gpt.training.objectives import BatchLoss, Objective, batch_loss

_TOLERANCE = 1e-4  # between a cached library and PyTorch, for the loss and each gradient

log = logging.getLogger(__name__)


def compiler_options(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """A context with two of PyTorch's private options, if it has them, for compiled losses."""
    import torch._functorch.config as config  # slow to import, like the whole compiler

    options = {
        # Writing to this cache occasionally crashes the process (PyTorch's issue 177442); the others are enough.
        "enable_autograd_cache": False,
        # Compiled CPU loops are very slow at storing booleans, so the backward pass recomputes dropout masks.
        # benchmarks/private_kernels.py measures the gain.
        "aggressive_recomputation": device.type == "cpu",
    }
    patch: contextlib.AbstractContextManager[None] = config.patch(
        {name: value for name, value in options.items() if hasattr(config, name)}
    )
    return patch


def training_losses(
    model: nn.Module, batches: Sequence[Batch], runtime: Runtime, objective: Objective, *, parts: int, compile: bool
) -> tuple[BatchLoss, BatchLoss]:
    """The loss to train with, which is the objective, and the loss that evaluations report.

    With `compile`, the first is compiled before the clock starts, by a forward and backward pass over one of `parts`
    parts of an example batch of each shape. Raises UserError if this machine cannot compile.
    """
    if not compile:
        return objective, batch_loss
    examples = [batch.part(0, parts) for batch in batches]
    with _explained():
        is_small = runtime.device.type == "cpu" and not is_large(model)
        if is_small and len(examples[0].inputs) == 1 and gpt.models.is_own(model):
            with contextlib.suppress(RandomNumbersError):
                return _prepared(PrecompiledLoss(model, objective, runtime), model, examples, runtime), batch_loss
        log.info("compiling; the first time takes up to a minute")  # later ones use the compiler's cache on disk
        # A small stage spends its time launching kernels, which CUDA graphs avoid. But they overwrite gradients, so the
        # parts of a batch could not add up.
        graphs = parts == 1 and runtime.device.type == "cuda" and not is_large(model)
        compiled = torch.compile(objective.__call__, dynamic=False, mode="reduce-overhead" if graphs else None)
        loss = _prepared(compiled, model, examples, runtime)
    # On a CPU, compilation does not speed up an evaluation's large passes.
    gains = runtime.device.type != "cpu" and objective.label_smoothing == 0
    return loss, loss if gains else batch_loss


def _prepared(loss: BatchLoss, model: nn.Module, examples: Sequence[Batch], runtime: Runtime) -> BatchLoss:
    """The loss, after a forward and backward pass over each example."""
    with torch.random.fork_rng([runtime.device] if runtime.device.type == "cuda" else []):
        for example in examples:
            with runtime.autocast():
                value = loss(model, example)
            value.backward()
    model.zero_grad()
    return loss


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn compiler errors into one line."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"compile=true does not work on this machine: {reason}") from error


class RandomNumbersError(Exception):
    """The model draws random numbers, as in dropout: a library would draw different ones."""


class PrecompiledLoss:
    """A model's mean loss over a batch. For each batch shape, a library computes the loss and its gradient together."""

    def __init__(self, model: nn.Module, objective: Objective, runtime: Runtime) -> None:
        self._step = _Step(model, objective, runtime)
        self._state = [*model.parameters(), *model.buffers()]
        self._libraries: dict[torch.Size, Any] = {}

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:  # noqa: ARG002
        """A scalar whose backward pass only returns the computed gradient. Raises RandomNumbersError."""
        tensors = [*self._state, *batch.inputs, batch.targets]
        shape = batch.targets.shape
        if shape not in self._libraries:
            self._libraries[shape] = _library(self._step, [t.detach() for t in tensors])
        loss: Tensor = _LossAndGradient.apply(self._libraries[shape], *tensors)
        return loss


class _Step(nn.Module):
    """The loss and its gradient for each parameter, as a function of the tensors of a model and a batch."""

    def __init__(self, model: nn.Module, objective: Objective, runtime: Runtime) -> None:
        super().__init__()
        self.model, self.objective, self.runtime = model, objective, runtime

    def forward(self, *inputs_and_targets: Tensor) -> tuple[Tensor, ...]:
        *inputs, targets = inputs_and_targets
        with self.runtime.autocast():
            loss = self.objective(self.model, Batch(tuple(inputs), targets, targets.numel()))
        # Here, where the module has the given tensors: a backward pass that computes activations again needs them.
        return loss.detach(), *torch.autograd.grad(loss, list(self.parameters()), materialize_grads=True)

    def with_gradient(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        trained = [name for name, _ in self.named_parameters()]
        names = [*trained, *(name for name, _ in self.named_buffers())]
        state = dict(zip(names, tensors, strict=False))
        for name in trained:
            state[name].requires_grad_()
        found: tuple[Tensor, ...] = functional_call(self, state, tensors[len(state) :])
        return found


class _LossAndGradient(torch.autograd.Function):
    """The library's loss and gradient as an autograd function."""

    @staticmethod
    def forward(ctx: Any, library: Any, *tensors: Tensor) -> Tensor:
        loss: Tensor
        loss, *ctx.gradient = library.run(list(tensors))
        ctx.others = len(tensors) - len(ctx.gradient)  # buffers, inputs and targets
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return None, *torch._foreach_mul(ctx.gradient, scale), *[None] * ctx.others


def _library(step: _Step, example: list[Tensor]) -> Any:
    generator = torch.get_rng_state()
    expected = step.with_gradient(*example)
    if not torch.equal(torch.get_rng_state(), generator):
        raise RandomNumbersError
    path = platformdirs.user_cache_path("gpt-ladder") / f"{_fingerprint(step, example)}.pt2"
    with contextlib.suppress(RuntimeError, ValueError):  # missing, damaged, or for other tensors
        library = _load(path)
        pairs = zip(library.run(example), expected, strict=True)
        if all(torch.allclose(ours, theirs, atol=_TOLERANCE) for ours, theirs in pairs):
            return library
    log.info("compiling; the first time takes up to two minutes")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, path.name)
        _compile(step.with_gradient, example, built)

        def keep() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, built.read_bytes())

        attempt("the compiled step", keep)
        return _load(built)


def _compile(step: Callable[..., tuple[Tensor, ...]], example: list[Tensor], path: Path) -> None:
    from torch._inductor import aoti_compile_and_package  # slow to import, like the whole compiler
    from torch.fx.experimental.proxy_tensor import make_fx

    torch.compiler._is_compiling_flag = True  # as torch.compile tells the stages that they are being compiled
    try:
        graph = make_fx(step)(*example)
    finally:
        torch.compiler._is_compiling_flag = False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch warns about its own code
        exported = torch.export.export(graph, tuple(example))
        options: dict[str, Any] = {"aot_inductor.metadata": {}}  # which would otherwise stay in PyTorch's settings
        aoti_compile_and_package(exported, package_path=str(path), inductor_configs=options)


def _load(path: Path) -> Any:
    """Load the library in a file.

    PyTorch's public function for this imports the compiler, which takes three seconds.
    """
    return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)


def _fingerprint(step: _Step, example: list[Tensor]) -> str:
    """A file name that identifies everything a library depends on."""
    modules = list(step.modules())
    files = {Path(sys.modules[type(module).__module__].__file__ or "") for module in modules}
    files |= set(Path(gpt.models.__path__[0]).glob("*.py"))
    settings = [{k: v for k, v in vars(module).items() if isinstance(v, int | float | str)} for module in modules]
    processor = Path("/proc/cpuinfo")
    described = processor.read_text() if processor.exists() else f"flags {platform.processor()}"
    flags = described.partition("flags")[2].partition("\n")[0]
    known = [
        torch.__version__, torch.get_num_threads(), flags, str(step.runtime), str(step.objective),
        [(t.shape, t.dtype) for t in example],
        settings, *(path.read_bytes() for path in sorted(files) if path.is_file()),
    ]  # fmt: skip
    return hashlib.sha256(repr(known).encode()).hexdigest()[:32]
