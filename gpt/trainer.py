"""The training loop, the same for every stage."""

import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpt.checkpoint import Checkpoint, Checkpoints, Progress
from gpt.compilation import compiled_loss
from gpt.config import CheckpointConfig, TrainingConfig
from gpt.data import TextData
from gpt.device import Runtime
from gpt.errors import UserError
from gpt.evaluation import Loss, batch_loss, estimated_loss
from gpt.optimizer import AdamW, learning_rate
from gpt.runs import Evaluation, RunFolder
from gpt.seeding import generator
from gpt.stopping import Stop, Stopped

log = logging.getLogger(__name__)

_LARGEST_SHARE = 0.02  # of the run's time that checkpoints may take


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    last: Evaluation
    best: Evaluation  # the one with the lowest validation loss
    last_batch: float  # the loss on the last training mini-batch, nats per token
    tokens_per_second: float  # of training steps; evaluations are left out
    skipped: int  # updates left out because of numbers that were not finite


class Trainer:
    """Trains `model` in place; with a `run`, keeps its metrics, weights and checkpoints there.

    Everything that a training's further course depends on is in `_state()` and `_progress()`; the batches are not,
    because they are a pure function of the seed and the iteration.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TextData,
        config: TrainingConfig,
        *,
        seed: int,
        runtime: Runtime,
        compile: bool = False,
        run: RunFolder | None = None,
        checkpoint: CheckpointConfig | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.model, self.data, self.config = model.train(), data, config
        self.seed, self.runtime, self.run = seed, runtime, run
        self.stop = stop or Stop()
        self.optimizer = AdamW(model, config)
        self.iteration = 0  # updates done
        self.evaluations: list[Evaluation] = []
        self.best: Evaluation | None = None  # the evaluation whose weights are kept
        self.last_batch = torch.full((), math.nan, device=runtime.device)
        self.training_seconds = 0.0
        self.skipped = torch.zeros((), device=runtime.device)  # updates with numbers that were not finite
        self.finite = torch.zeros((), device=runtime.device)  # updates before the first of those
        self._known_skipped = 0
        self._checkpoints = Checkpoints(run.path / "checkpoints", checkpoint.keep) if run and checkpoint else None
        self._schedule = checkpoint
        self._saved_iteration, self._saved_at, self._saving_took = 0, time.perf_counter(), 0.0
        self._loss: Loss = batch_loss
        if compile:
            rows = config.batch_size // config.grad_accumulation
            self._loss = compiled_loss(model, data.batch("train", rows, generator(seed, "compilation")), runtime)

    def train(self) -> Result:
        """Go on to the last iteration.

        Raises Stopped where a signal asked for it, once all is saved, and UserError if numbers are no longer finite.
        """
        max_iters = self.config.max_iters
        tokens_per_step = self.config.batch_size * self.data.block_size
        with _progress_bar(self.iteration, max_iters) as bar, self.stop.deferred():
            started = time.perf_counter()
            while True:
                # Evaluate and save, with the clock stopped.
                if self._evaluation_is_due() or self._checkpoint_is_due():
                    self.runtime.synchronize()
                    self.training_seconds += time.perf_counter() - started
                    if self._evaluation_is_due():
                        self._evaluate()
                    if self._checkpoint_is_due():
                        self._check_updates(int(self.skipped), int(self.finite))
                        self._save_checkpoint()
                    started = time.perf_counter()
                if self.stop.requested is not None:
                    self._save_and_stop()
                if self.iteration == max_iters:
                    break

                self._update()

                # Fetching the loss makes the device wait, so it is done only when the bar was just drawn.
                if bar.update():
                    rate = bar.format_dict["rate"] or 0.0
                    speed = f"{rate * tokens_per_step:,.0f} tokens/s"
                    bar.set_postfix_str(f"loss {self.last_batch.item():.3f}, {speed}", refresh=False)

            self._save_checkpoint()
            if self.run is not None:
                self.run.save_weights(self.model, "last")
        assert self.best is not None  # the last iteration is evaluated
        return Result(
            self.evaluations[-1], self.best, self.last_batch.item(), self._tokens_per_second(), int(self.skipped)
        )

    def _update(self) -> None:
        """One iteration: batch, forward, backward, clip, step."""
        config, model = self.config, self.model

        # Batch: a pure function of the seed and the iteration.
        batch = self.data.batch("train", config.batch_size, generator(self.seed, "train", self.iteration))

        # Forward and backward, in `grad_accumulation` parts: less memory for the same gradient.
        loss = torch.zeros((), device=self.runtime.device)
        for part in batch.split(config.batch_size // config.grad_accumulation):
            with self.runtime.autocast():
                part_loss = self._loss(model, part) / config.grad_accumulation
            part_loss.backward()
            loss += part_loss.detach()

        # Clip.
        if config.grad_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)

        # Step, unless a number is not finite. That is decided on the device; nothing here waits for it.
        skip = _has_nonfinite([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
        self.skipped += skip
        self.finite += self.skipped == 0
        self.optimizer.step(learning_rate(self.iteration, config), skip)
        self.optimizer.zero_grad()
        self.last_batch = loss
        self.iteration += 1

    def _evaluation_is_due(self) -> bool:
        is_time = self.iteration % self.config.eval_interval == 0 or self.iteration == self.config.max_iters
        return is_time and [line.iteration for line in self.evaluations[-1:]] != [self.iteration]

    def _evaluate(self) -> None:
        """Estimate the losses, log and keep them, and keep the weights if they are the best so far."""
        # Large passes gain nothing from the loops that the compiler makes for a CPU.
        loss = batch_loss if self.runtime.device.type == "cpu" else self._loss

        def estimate(split: str) -> Tensor:
            return estimated_loss(
                self.model,
                self.data,
                split,
                eval_iters=self.config.eval_iters,
                batch_size=self.config.batch_size,
                generator=generator(self.seed, "evaluation", split, self.iteration),
                runtime=self.runtime,
                loss=loss,
            )

        try:
            with self.stop.at_once():
                # This waits for the device, once.
                numbers = torch.stack([estimate("train"), estimate("val"), self.skipped, self.finite]).tolist()
        except Stopped:
            self._save_and_stop()
        train_loss, val_loss, skipped, finite = numbers
        self._check_updates(int(skipped), int(finite))
        rate = learning_rate(min(self.iteration, self.config.max_iters - 1), self.config)
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            self._fail(f"the loss is {train_loss} (train) and {val_loss} (val) after {self.iteration} iterations")
        new = Evaluation(iteration=self.iteration, train=train_loss, val=val_loss, learning_rate=rate)
        self.evaluations.append(new)
        speed = f"   {self._tokens_per_second():,.0f} tokens/s" if self.iteration else ""
        log.info(
            f"iteration {new.iteration:>{len(str(self.config.max_iters))}}   train {new.train:.4f}   val {new.val:.4f}"
            f"   lr {new.learning_rate:.1e}{speed}"
        )
        if new.train > self.evaluations[0].train:
            log.warning(f"the training loss is above {self.evaluations[0].train:.4f}, where it began: it diverges")
        is_best = self.best is None or new.val < self.best.val
        if self.run is None or (is_best and self._try("the best weights", self._save_best)):
            self.best = new if is_best else self.best
        if self.run is not None:
            self._try("the metrics", functools.partial(self.run.write_metrics, self.evaluations))

    def _check_updates(self, skipped: int, finite: int) -> None:
        """Tell of `skipped` updates that were left out, after the first `finite` ones, for not being finite."""
        if skipped == self._known_skipped:
            return
        self._known_skipped = skipped
        what = f"a loss or gradient was not finite in {skipped} updates, first after {finite} iterations"
        if self.config.on_nonfinite == "stop":
            self._fail(f"{what}, with learning rate {learning_rate(finite, self.config):g}")
        log.warning(f"{what}; those updates were left out")

    def _fail(self, what: str) -> None:
        names = self._checkpoints.names() if self._checkpoints else []
        back = f" from {self._checkpoints.folder / names[-1]}" if self._checkpoints and names else ""
        raise UserError(f"{what}: try again{back} with a smaller training.learning_rate or training.grad_clip=1.0")

    def _tokens_per_second(self) -> float:
        tokens = self.iteration * self.config.batch_size * self.data.block_size
        return tokens / self.training_seconds if self.training_seconds else 0.0

    # Checkpoints

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back, or on, to where a checkpoint was saved, to the bit."""
        progress, tensors = checkpoint.progress, checkpoint.tensors()
        if progress.iteration > self.config.max_iters:
            raise UserError(f"{checkpoint.path} is beyond training.max_iters={self.config.max_iters}")
        state = self._state()
        random = {name: tensors.pop(name) for name in list(tensors) if name.startswith("random.")}
        missing = state.keys() - tensors.keys() - {name for name in state if name.startswith("random.")}
        shapes = {name: tensor.shape for name, tensor in state.items()}
        if missing or any(shapes.get(name) != tensor.shape for name, tensor in tensors.items()):
            raise UserError(f"{checkpoint.path} belongs to another model")
        with torch.no_grad():
            for name, tensor in tensors.items():
                state[name].copy_(tensor)
        for name, generator_state in random.items():
            device = name.removeprefix("random.")
            if device in ("cpu", self.runtime.device.type):
                _random_module(device).set_rng_state(generator_state)
        self.iteration = self._saved_iteration = progress.iteration
        self.evaluations = list(progress.evaluations)
        self.best = progress.best
        self.last_batch = torch.tensor(math.nan if progress.last_batch is None else progress.last_batch).to(
            self.runtime.device
        )
        self.training_seconds = progress.training_seconds
        self._known_skipped = int(self.skipped)
        if self.run is not None:
            checkpoint.restore_best(self.run.weights("best"))

    def _state(self) -> dict[str, Tensor]:
        model = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state().items()}
        devices = {"cpu", self.runtime.device.type}
        random = {f"random.{device}": _random_module(device).get_rng_state() for device in sorted(devices)}
        counts = {"skipped": self.skipped, "finite": self.finite}
        return {**model, **optimizer, **random, **counts}

    def _progress(self) -> Progress:
        last_batch = self.last_batch.item()
        return Progress(
            iteration=self.iteration,
            evaluations=self.evaluations,
            best=self.best,
            last_batch=last_batch if math.isfinite(last_batch) else None,
            training_seconds=self.training_seconds,
        )

    def _checkpoint_is_due(self) -> bool:
        if self._schedule is None or self.iteration == self._saved_iteration:
            return False
        pause = self._schedule.min_seconds and max(self._schedule.min_seconds, self._saving_took / _LARGEST_SHARE)
        is_time = time.perf_counter() - self._saved_at >= pause
        return is_time and self.iteration % self._schedule.interval == 0

    def _save_checkpoint(self) -> bool:
        """Whether all up to now is saved."""
        if self.run is None or self._checkpoints is None:
            return False
        started = time.perf_counter()
        best, checkpoints = self.run.weights("best"), self._checkpoints
        saved = self.iteration == self._saved_iteration > 0 or self._try(
            "a checkpoint", lambda: checkpoints.save(self._progress(), self._state(), best)
        )
        if saved:
            self._saved_iteration = self.iteration
        self._saved_at = time.perf_counter()
        self._saving_took = self._saved_at - started
        return saved

    def _save_and_stop(self) -> None:
        number = self.stop.requested
        assert number is not None
        saved = self._save_checkpoint()
        where = f"stopped at iteration {self.iteration}"
        if self.run is None:
            raise Stopped(number, where)
        if not saved:
            where += ", which could not be saved"
        raise Stopped(number, f"{where}; go on with: python train.py resume={self.run.path}")

    def _save_best(self) -> None:
        if self.run is not None:
            self.run.save_weights(self.model, "best")

    @staticmethod
    def _try(what: str, write: Callable[[], None]) -> bool:
        """Whether something could be written; if not, a run that could go on goes on."""
        try:
            write()
        except (OSError, UserError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            log.warning(f"{what} could not be written, the run goes on without: {reason}")
            return False
        return True


def _has_nonfinite(tensors: list[Tensor]) -> Tensor:
    """1 if a number in any of the tensors is infinite or not a number, else 0: a scalar on their device."""
    found = torch.zeros((), device=tensors[0].device)
    # The kernel of gradient scaling, which also multiplies by a scale: here 1.
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, torch.ones_like(found))
    return found


def _random_module(device: str) -> ModuleType:  # torch, torch.cuda or torch.mps
    return torch if device == "cpu" else getattr(torch, device)


def _progress_bar(done: int, iterations: int) -> tqdm:
    """A bar on a terminal, and nothing where the output is piped: the log lines are enough there."""
    return tqdm(initial=done, total=iterations, unit="it", dynamic_ncols=True, leave=False, disable=None)
