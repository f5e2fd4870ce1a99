"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gpt import cli, models
from gpt.checkpoint import Checkpoint
from gpt.config import TrainConfig
from gpt.device import Runtime, select_device, select_runtime, size_of
from gpt.distributed import World
from gpt.errors import RequestError
from gpt.evaluation import exact_loss
from gpt.files import write_atomically
from gpt.loading import AnyData, load
from gpt.report import closing_lines, plot_run, summarise
from gpt.resuming import resume, run_of, unfinished_like
from gpt.runs import AnyTokenizer, RunFolder
from gpt.seeding import seed_everything
from gpt.stopping import Stop
from gpt.trainer import Trainer

log = logging.getLogger("gpt")


@dataclass(frozen=True)
class Setup:
    """What a configuration stands for."""

    text: str
    data: AnyData
    model: nn.Module
    runtime: Runtime
    changed: list[str]  # from what is documented, as key=value


def main(config: TrainConfig) -> None:
    """Train a stage, or go on with a run of one; leave a run folder that says what came out."""
    world = World.join()
    try:
        with Stop().listening() as stop:
            if world.is_first:
                _lead(config, stop, world)
            else:
                _follow(stop, world)
    finally:
        world.leave()


def _lead(config: TrainConfig, stop: Stop, world: World) -> None:
    """What the only process does, or the first of several: it alone reads and writes the run folder."""
    run = _run_to_go_on_with(config)
    if run is None:
        setup = _set_up(config)  # before there is a folder: what cannot be trained leaves none behind
        run = RunFolder.create(*cli.run_folder_place(config), reuse=config.resume == "auto")
        with run.locked(), run.logging():
            run.write_config(config)
            run.write_tokenizer(setup.data.tokenizer, setup.text)
            _train(run, config, setup, None, stop, world)
        return
    with run.locked(), run.logging():
        automatic = config.resume == "auto"
        path = run.path if automatic else Path(str(config.resume))
        resumed = resume(path, config, None if automatic else cli.given_keys())
        config, checkpoint = resumed.config, resumed.checkpoint
        if run.is_finished() and config.training.max_iters == run.summary().iterations:
            log.info(f"{run.path} is finished; training.max_iters=N takes it further")
            world.share("")
            return
        setup = _set_up(config, run.tokenizer())
        if not run.is_of(setup.text):
            raise RequestError(f"the corpus is not the one that {run.path} was begun with")
        run.unfinish()
        run.write_config(config)
        log.info(f"going on with {run.path} from iteration {checkpoint.progress.iteration if checkpoint else 0}")
        if resumed.changed:
            log.info(f"changed for the rest of the run: {', '.join(resumed.changed)}")
        _train(run, config, setup, checkpoint, stop, world)


def _follow(stop: Stop, world: World) -> None:
    """What the other processes do: train along with the first one, in silence."""
    log.setLevel(logging.ERROR)
    content = world.share("")
    if content:
        config = TrainConfig.model_validate_json(content)
        setup = _set_up(config)
        trainer = _trainer(config, setup, None, stop, world)
        trainer.restore(None)
        trainer.train()
        exact_loss(setup.model, setup.data, "val", runtime=setup.runtime, world=world)


def _run_to_go_on_with(config: TrainConfig) -> RunFolder | None:
    if config.resume is None:
        return None
    if config.resume != "auto":
        return run_of(Path(config.resume))
    if cli.is_sweep():
        parent, name = cli.run_folder_place(config)
        run = RunFolder(parent / name)
        return run if run.is_begun() else None
    return unfinished_like(config, Path(config.runs))


def _set_up(config: TrainConfig, tokenizer: "AnyTokenizer | None" = None) -> Setup:
    changed = cli.changes_from_documented(config)
    device = select_device(config.device)
    seed_everything(config.seed, deterministic=config.deterministic)
    data, text = load(config, device, tokenizer)
    model = models.build(config.model.target, vocab_size=len(data.tokenizer), **config.model.hyperparameters())
    model.to(device)
    return Setup(text, data, model, select_runtime(device, config.dtype, model), changed)


def _trainer(config: TrainConfig, setup: Setup, run: RunFolder | None, stop: Stop, world: World) -> Trainer:
    return Trainer(
        setup.model,
        setup.data,
        config.training,
        seed=config.seed,
        runtime=setup.runtime,
        compile=config.compile,
        run=run,
        checkpoint=config.checkpoint,
        stop=stop,
        world=world,
    )


def _train(
    run: RunFolder, config: TrainConfig, setup: Setup, checkpoint: Checkpoint | None, stop: Stop, world: World
) -> None:
    started = time.perf_counter()
    data, model, runtime = setup.data, setup.model, setup.runtime
    parameters = size_of(model)
    log.info(f"{config.stage}: {config.adds}; {parameters:,} parameters, seed {config.seed}, {runtime}{world}")
    if setup.changed:
        log.info(f"changed from the documented run: {', '.join(setup.changed)}")
    world.share(config.model_dump_json(by_alias=True, exclude_unset=True))
    trainer = _trainer(config, setup, run, stop, world)
    trainer.restore(checkpoint)
    result = trainer.train()
    summary = summarise(
        config,
        result,
        parameters=parameters,
        exact_val=exact_loss(model, data, "val", runtime=runtime, world=world),
        changed=setup.changed,
        runtime=runtime,
        seconds=time.perf_counter() - started,
    )
    write_atomically(run.path / "sample.txt", data.sample(model, config.seed))
    plot_run(run, summary)
    run.write_summary(summary)
    log.info(closing_lines(summary, run))


if __name__ == "__main__":
    cli.main(main, TrainConfig, "train", verbatim=("data.path", "data.dir", "resume"))
