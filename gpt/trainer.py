"""The training loop, the same for every stage."""

import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpt.checkpoint import Checkpoint, Checkpoints
from gpt.compilation import compiled_loss
from gpt.config import CheckpointConfig, TrainingConfig
from gpt.data import TextData
from gpt.device import Runtime
from gpt.errors import RequestError, UserError
from gpt.evaluation import Loss, batch_loss, estimated_loss
from gpt.optimizer import learning_rate
from gpt.runs import Evaluation, RunFolder
from gpt.seeding import generator
from gpt.state import TrainingState
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
    """Trains `model` in place; with a `run`, keeps its metrics, weights and checkpoints there."""

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
        self.state = TrainingState(model, config, runtime)
        self.stop = stop or Stop()
        self._loss: Loss = batch_loss
        if compile:
            rows = config.batch_size // config.grad_accumulation
            self._loss = compiled_loss(model, data.batch("train", rows, generator(seed, "compilation")), runtime)
        self._known_skipped = 0
        self._checkpoints = Checkpoints(run.path / "checkpoints", checkpoint.keep) if run and checkpoint else None
        self._schedule = checkpoint
        self._saved_iteration, self._saved_at, self._saving_took = 0, time.perf_counter(), 0.0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back, or on, to where a checkpoint was saved, to the bit."""
        if checkpoint.progress.iteration > self.config.max_iters:
            raise RequestError(f"training.max_iters={self.config.max_iters} is before {checkpoint.path}")
        self.state.restore(checkpoint)
        self._saved_iteration = self.state.iteration
        self._known_skipped = int(self.state.skipped)
        if self.run is not None:
            checkpoint.restore_best(self.run.weights("best"))

    def train(self) -> Result:
        """Go on to the last iteration.

        Raises Stopped where a signal asked for it, once all is saved, and UserError if numbers are no longer finite.
        """
        state, max_iters = self.state, self.config.max_iters
        tokens_per_step = self.config.batch_size * self.data.block_size
        with _progress_bar(state.iteration, max_iters) as bar, self.stop.deferred():
            started = time.perf_counter()
            while True:
                # Evaluate and save, with the clock stopped.
                if self._evaluation_is_due() or self._checkpoint_is_due():
                    self.runtime.synchronize()
                    state.seconds += time.perf_counter() - started
                    if self._evaluation_is_due():
                        self._evaluate()
                    if self._checkpoint_is_due():
                        self._check_updates(int(state.skipped), int(state.finite))
                        self._save_checkpoint()
                    started = time.perf_counter()
                if self.stop.requested is not None:
                    self._save_and_stop()
                if state.iteration == max_iters:
                    break

                self._update()

                # Fetching the loss makes the device wait, so it is done only when the bar was just drawn.
                if bar.update():
                    rate = bar.format_dict["rate"] or 0.0
                    speed = f"{rate * tokens_per_step:,.0f} tokens/s"
                    bar.set_postfix_str(f"loss {state.last_batch.item():.3f}, {speed}", refresh=False)

            self._save_checkpoint()
            if self.run is not None:
                self.run.save_weights(self.model, "last")
        assert state.best is not None  # the last iteration is evaluated
        return Result(
            state.evaluations[-1],
            state.best,
            state.last_batch.item(),
            self._tokens_per_second(),
            int(state.skipped),
        )

    def _update(self) -> None:
        """One iteration: batch, forward, backward, clip, step."""
        config, model, state = self.config, self.model, self.state

        # Batch: a pure function of the seed and the iteration.
        batch = self.data.batch("train", config.batch_size, generator(self.seed, "train", state.iteration))

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
        state.skipped += skip
        state.finite += state.skipped == 0
        state.optimizer.step(learning_rate(state.iteration, config), skip)
        state.optimizer.zero_grad()
        state.last_batch = loss
        state.iteration += 1

    def _evaluation_is_due(self) -> bool:
        is_time = self.state.iteration % self.config.eval_interval == 0 or self.state.iteration == self.config.max_iters
        return is_time and [line.iteration for line in self.state.evaluations[-1:]] != [self.state.iteration]

    def _evaluate(self) -> None:
        """Estimate the losses, log and keep them, and keep the weights if they are the best so far."""
        state, config = self.state, self.config
        # Large passes gain nothing from the loops that the compiler makes for a CPU.
        loss = batch_loss if self.runtime.device.type == "cpu" else self._loss

        def estimate(split: str) -> Tensor:
            return estimated_loss(
                self.model,
                self.data,
                split,
                eval_iters=config.eval_iters,
                batch_size=config.batch_size,
                generator=generator(self.seed, "evaluation", split, state.iteration),
                runtime=self.runtime,
                loss=loss,
            )

        try:
            with self.stop.at_once():
                numbers = [estimate("train"), estimate("val"), state.skipped, state.finite]
                place = self.runtime.accumulator
                train_loss, val_loss, skipped, finite = torch.stack([n.to(place) for n in numbers]).tolist()  # waits
        except Stopped:
            self._save_and_stop()
        self._check_updates(int(skipped), int(finite))
        rate = learning_rate(min(state.iteration, config.max_iters - 1), config)
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            self._fail(f"the loss is {train_loss} (train) and {val_loss} (val) after {state.iteration} iterations")
        new = Evaluation(iteration=state.iteration, train=train_loss, val=val_loss, learning_rate=rate)
        state.evaluations.append(new)
        speed = f"   {self._tokens_per_second():,.0f} tokens/s" if state.iteration else ""
        log.info(
            f"iteration {new.iteration:>{len(str(config.max_iters))}}   train {new.train:.4f}   val {new.val:.4f}"
            f"   lr {new.learning_rate:.1e}{speed}"
        )
        if new.train > state.evaluations[0].train:
            log.warning(f"the training loss is above {state.evaluations[0].train:.4f}, where it began: it diverges")
        is_best = state.best is None or new.val < state.best.val
        if self.run is None or (is_best and self._try("the best weights", self._save_best)):
            state.best = new if is_best else state.best
        if self.run is not None:
            self._try("the metrics", functools.partial(self.run.write_metrics, state.evaluations))

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
        again = (
            f"go on with resume={self._checkpoints.folder / names[-1]}" if self._checkpoints and names else "try again"
        )
        raise UserError(f"{what}: {again} and a smaller training.learning_rate or training.grad_clip=1.0")

    def _tokens_per_second(self) -> float:
        tokens = self.state.iteration * self.config.batch_size * self.data.block_size
        return tokens / self.state.seconds if self.state.seconds else 0.0

    def _checkpoint_is_due(self) -> bool:
        if self._schedule is None or self.state.iteration == self._saved_iteration:
            return False
        pause = self._schedule.min_seconds and max(self._schedule.min_seconds, self._saving_took / _LARGEST_SHARE)
        is_time = time.perf_counter() - self._saved_at >= pause
        return is_time and self.state.iteration % self._schedule.interval == 0

    def _save_checkpoint(self) -> bool:
        """Whether all up to now is saved."""
        if self.run is None or self._checkpoints is None:
            return False
        started = time.perf_counter()
        best, checkpoints = self.run.weights("best"), self._checkpoints
        saved = self.state.iteration == self._saved_iteration > 0 or self._try(
            "a checkpoint", lambda: checkpoints.save(self.state.progress(), self.state.tensors(), best)
        )
        if saved:
            self._saved_iteration = self.state.iteration
        self._saved_at = time.perf_counter()
        self._saving_took = self._saved_at - started
        return saved

    def _save_and_stop(self) -> None:
        number = self.stop.requested
        assert number is not None
        saved = self._save_checkpoint()
        where = f"stopped at iteration {self.state.iteration}"
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


def _progress_bar(done: int, iterations: int) -> tqdm:
    """A bar on a terminal, and nothing where the output is piped: the log lines are enough there."""
    return tqdm(initial=done, total=iterations, unit="it", dynamic_ncols=True, leave=False, disable=None)
