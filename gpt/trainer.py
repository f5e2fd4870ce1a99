"""The training loop, the same for every stage."""

import logging
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gpt.compilation import compiled_loss
from gpt.config import TrainingConfig
from gpt.data import TextData
from gpt.device import Runtime
from gpt.errors import UserError
from gpt.evaluation import Loss, batch_loss, estimated_loss
from gpt.optimizer import AdamW, learning_rate
from gpt.runs import Evaluation, RunFolder
from gpt.seeding import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    last: Evaluation
    best: Evaluation  # the one with the lowest validation loss
    last_batch: float  # the loss on the last training mini-batch, nats per token
    tokens_per_second: float  # of training steps; evaluations are left out


def train(
    model: nn.Module,
    data: TextData,
    config: TrainingConfig,
    *,
    seed: int,
    runtime: Runtime,
    compile: bool = False,
    run: RunFolder | None = None,
) -> Result:
    """Train `model` in place; with a `run`, keep its metrics and its best and last weights there.

    Raises UserError if the loss is no longer a finite number.
    """
    model.train()
    optimizer = AdamW(model, config)
    loss_of: Loss = batch_loss
    if compile:
        rows = config.batch_size // config.grad_accumulation
        loss_of = compiled_loss(model, data.batch("train", rows, generator(seed, "compilation")), runtime)
    # Large passes gain nothing from the loops that the compiler makes for a CPU.
    evaluated_loss = batch_loss if runtime.device.type == "cpu" else loss_of
    tokens_per_step = config.batch_size * data.block_size
    evaluations: list[Evaluation] = []
    training_seconds, speed = 0.0, 0.0

    with _progress_bar(config.max_iters) as bar, logging_redirect_tqdm([logging.getLogger("gpt")]):
        started = time.perf_counter()
        for iteration in range(config.max_iters + 1):
            # Evaluate, with the clock stopped.
            if iteration % config.eval_interval == 0 or iteration == config.max_iters:
                runtime.synchronize()
                training_seconds += time.perf_counter() - started
                speed = iteration * tokens_per_step / training_seconds
                evaluations.append(
                    _evaluate(model, data, config, iteration, speed, evaluated_loss, seed=seed, runtime=runtime)
                )
                _record(evaluations, model, config, run)
                started = time.perf_counter()
            if iteration == config.max_iters:
                break

            # Batch: a pure function of the seed and the iteration.
            batch = data.batch("train", config.batch_size, generator(seed, "train", iteration))

            # Forward and backward, in `grad_accumulation` parts: less memory for the same gradient.
            loss = torch.zeros((), device=runtime.device)
            for part in batch.split(config.batch_size // config.grad_accumulation):
                with runtime.autocast():
                    part_loss = loss_of(model, part) / config.grad_accumulation
                part_loss.backward()
                loss += part_loss.detach()

            # Clip.
            if config.grad_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)

            # Step.
            optimizer.step(learning_rate(iteration, config))
            optimizer.zero_grad()

            # Fetching the loss makes the device wait, so it is done only when the bar was just drawn.
            if bar.update():
                rate = bar.format_dict["rate"] or 0.0
                bar.set_postfix_str(f"loss {loss.item():.3f}, {rate * tokens_per_step:,.0f} tokens/s", refresh=False)

    if run is not None:
        run.save_weights(model, "last")
    return Result(evaluations[-1], _best(evaluations), last_batch=loss.item(), tokens_per_second=speed)


def _evaluate(
    model: nn.Module,
    data: TextData,
    config: TrainingConfig,
    iteration: int,
    speed: float,
    loss: Loss,
    *,
    seed: int,
    runtime: Runtime,
) -> Evaluation:
    def estimate(split: str) -> Tensor:
        return estimated_loss(
            model,
            data,
            split,
            eval_iters=config.eval_iters,
            batch_size=config.batch_size,
            generator=generator(seed, "evaluation", split, iteration),
            runtime=runtime,
            loss=loss,
        )

    rate = learning_rate(min(iteration, config.max_iters - 1), config)
    train_loss, val_loss = torch.stack([estimate("train"), estimate("val")]).tolist()  # waits for the device, once
    if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
        raise UserError(
            f"the loss is {train_loss} (train) and {val_loss} (val) after {iteration} iterations: "
            f"try a smaller training.learning_rate (now {rate:g}) or training.grad_clip=1.0"
        )
    return Evaluation(
        iteration=iteration,
        train=train_loss,
        val=val_loss,
        learning_rate=rate,
        tokens_per_second=round(speed),
    )


def _record(evaluations: list[Evaluation], model: nn.Module, config: TrainingConfig, run: RunFolder | None) -> None:
    """Log the newest evaluation, keep it, and keep the weights if they are the best so far."""
    new = evaluations[-1]
    speed = f"   {new.tokens_per_second:,.0f} tokens/s" if new.iteration else ""
    log.info(
        f"iteration {new.iteration:>{len(str(config.max_iters))}}   train {new.train:.4f}   val {new.val:.4f}"
        f"   lr {new.learning_rate:.1e}{speed}"
    )
    if run is not None:
        run.append_metrics(new)
        if new is _best(evaluations):
            run.save_weights(model, "best")


def _best(evaluations: list[Evaluation]) -> Evaluation:
    return min(evaluations, key=lambda evaluation: evaluation.val)


def _progress_bar(iterations: int) -> tqdm:
    """A bar on a terminal, and nothing where the output is piped: the log lines are enough there."""
    return tqdm(total=iterations, unit="it", dynamic_ncols=True, leave=False, disable=None)
