"""The training loop, the same for every stage."""

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpt.checkpoint import Checkpoint, Checkpoints
from gpt.compilation import compiled_loss
from gpt.config import CheckpointConfig, TrainingConfig
from gpt.data import Batch, Data
from gpt.device import Runtime
from gpt.distributed import ALONE, World
from gpt.errors import RequestError, UserError
from gpt.evaluation import Loss, batch_loss, mean_loss, tokens_per_pass
from gpt.optimizer import learning_rate
from gpt.runs import Evaluation, RunFolder
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
        data: Data,
        config: TrainingConfig,
        *,
        seed: int,
        runtime: Runtime,
        compile: bool = False,
        run: RunFolder | None = None,
        checkpoint: CheckpointConfig | None = None,
        stop: Stop | None = None,
        world: World = ALONE,
    ) -> None:
        self.model, self.data, self.config = model.train(), data, config
        self.seed, self.runtime, self.run = seed, runtime, run
        self.state = TrainingState(model, config, runtime)
        self.stop, self.world = stop or Stop(), world
        self._parallel = world.parallel(model)
        self._loss: Loss = functools.partial(batch_loss, label_smoothing=config.label_smoothing)
        self._plain_loss: Loss = batch_loss  # what is reported
        if compile:
            example = next(self._batch().split(config.grad_accumulation))
            self._loss = compiled_loss(self._loss, self._parallel, example, runtime)
            # Large passes gain nothing from the loops that the compiler makes for a CPU.
            if runtime.device.type != "cpu" and config.label_smoothing == 0:
                self._plain_loss = self._loss
        self._known_skipped = 0
        self._checkpoints = Checkpoints(run.path / "checkpoints", checkpoint.keep) if run and checkpoint else None
        self._schedule = checkpoint
        self._saved_iteration, self._saved_at, self._saving_took = 0, time.perf_counter(), 0.0

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Go back, or on, to where a checkpoint was saved, to the bit; of several processes, the first one has it."""
        if checkpoint is not None:
            if checkpoint.progress.iteration > self.config.max_iters:
                raise RequestError(f"training.max_iters={self.config.max_iters} is before {checkpoint.path}")
            self.state.restore(checkpoint.progress, checkpoint.tensors())
        self.state.share(self.world)
        self._saved_iteration = self.state.iteration
        self._known_skipped = int(self.state.skipped)
        if self.run is not None and checkpoint is not None:
            checkpoint.restore_best(self.run.weights("best"))

    def train(self) -> Result:
        """Go on to the last iteration.

        Raises Stopped where a signal asked for it, once all is saved, and UserError if numbers are no longer finite.
        """
        state, max_iters = self.state, self.config.max_iters
        with _progress_bar(state.iteration, max_iters) as bar, self.stop.deferred(), self.world.watched():
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
                if number := self.world.agree(self.stop.requested or 0):
                    self._save_and_stop(number)
                if state.iteration == max_iters:
                    break

                self._update()

                # Fetching the loss makes the device wait, so it is done only when the bar was just drawn.
                if bar.update():
                    seconds = state.seconds + time.perf_counter() - started
                    speed = f"{state.tokens / seconds:,.0f} tokens/s"
                    bar.set_postfix_str(f"loss {state.last_batch.item():.3f}, {speed}", refresh=False)

            self._save_checkpoint()
            if self.run is not None:
                self.run.save_weights(self.model, "last")
            if state.averaged:
                self.model.load_state_dict(state.average)
                if self.run is not None:
                    self.run.save_weights(self.model, "averaged")
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
        config, state = self.config, self.state
        parameters = state.optimizer.parameters.values()  # not model.parameters(), which walks all of its modules

        # Batch: a pure function of the seed and the iteration; of several processes, each takes its part.
        whole = self._batch()
        batch = whole.part(self.world.rank, self.world.size) if self.world.size > 1 else whole

        # Forward and backward, in `grad_accumulation` parts: less memory for the same gradient.
        loss = torch.zeros((), device=self.runtime.device)
        for part in batch.split(config.grad_accumulation):
            share = part.tokens * self.world.size / whole.tokens  # of the processes' gradients, the mean is taken
            with self.runtime.autocast():
                part_loss = self._loss(self._parallel, part) * share
            part_loss.backward()
            loss += part_loss.detach()
        if self.world.size > 1:
            self.world.add_up(loss)
            loss /= self.world.size

        # Clip.
        if config.grad_clip is not None:
            nn.utils.clip_grad_norm_(parameters, config.grad_clip)

        # Step, unless a number is not finite. That is decided on the device; nothing here waits for it.
        skip = _has_nonfinite([loss, *(p.grad for p in parameters if p.grad is not None)])
        state.skipped += skip
        state.finite += state.skipped == 0
        state.optimizer.step(learning_rate(state.iteration, config), skip)
        state.optimizer.zero_grad()
        state.last_batch = loss
        state.iteration += 1
        state.tokens += whole.tokens

    def _batch(self) -> Batch:
        return self.data.training_batch(self.seed, self.state.iteration, self.config.batch_size)

    def _evaluation_is_due(self) -> bool:
        iteration, interval = self.state.iteration, self.config.eval_interval
        if interval == "epoch":
            is_time = iteration == 0 or self._epoch(iteration) > self._epoch(iteration - 1)
        else:
            is_time = iteration % interval == 0
        is_time = is_time or iteration == self.config.max_iters
        return is_time and [line.iteration for line in self.state.evaluations[-1:]] != [self.state.iteration]

    def _epoch(self, iteration: int) -> int:
        return self.data.epoch(self.seed, iteration, self.config.batch_size)

    def _evaluate(self) -> None:
        """Estimate the losses, log and keep them, and keep the weights if they are the best so far."""
        state, config = self.state, self.config

        def estimate(split: str) -> Tensor:
            batches = self.data.estimation_batches(
                split, self.seed, state.iteration, config.eval_iters, config.batch_size, tokens_per_pass(self.runtime)
            )
            return mean_loss(
                self.model, batches, f"estimating {split} loss", self.runtime, self._plain_loss, self.world
            )

        try:
            with self.stop.at_once() if self.world.size == 1 else contextlib.nullcontext():
                numbers = [estimate("train"), estimate("val"), state.skipped, state.finite]
                place = self.runtime.accumulator
                train_loss, val_loss, skipped, finite = torch.stack([n.to(place) for n in numbers]).tolist()  # waits
        except Stopped as stopped:
            self._save_and_stop(stopped.number)
        self._check_updates(int(skipped), int(finite))
        rate = learning_rate(min(state.iteration, config.max_iters - 1), config)
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            self._fail(f"the loss is {train_loss} (train) and {val_loss} (val) after {state.iteration} iterations")
        new = Evaluation(iteration=state.iteration, train=train_loss, val=val_loss, learning_rate=rate)
        state.evaluations.append(new)
        speed = f"   {self._tokens_per_second():,.0f} tokens/s" if state.iteration else ""
        log.info(
            f"iteration {new.iteration:>{len(str(config.max_iters))}}   epoch {self._epoch(new.iteration)}"
            f"   train {new.train:.4f}   val {new.val:.4f}   lr {new.learning_rate:.1e}{speed}"
        )
        if new.iteration and self.world.is_first:
            for line in self.data.examples(self.model):
                log.info(line)
        if new.train > state.evaluations[0].train:
            log.warning(f"the training loss is above {state.evaluations[0].train:.4f}, where it began: it diverges")
        if config.average_last and state.iteration >= (1 - config.average_last) * config.max_iters:
            state.take_into_average()
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
        return self.state.tokens / self.state.seconds if self.state.seconds else 0.0

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

    def _save_and_stop(self, number: int) -> NoReturn:
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
