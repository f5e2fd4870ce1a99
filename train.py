"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gpt import cli, models
from gpt.checkpoint import Checkpoint
from gpt.config import TrainConfig
from gpt.corpus import read_text, tiny_shakespeare
from gpt.data import TextData
from gpt.device import Runtime, select_device, select_runtime
from gpt.errors import RequestError
from gpt.evaluation import exact_loss
from gpt.files import write_atomically
from gpt.report import closing_lines, plot_run, summarise
from gpt.resuming import resume, run_of, unfinished_like
from gpt.runs import RunFolder
from gpt.sampling import sample_text
from gpt.seeding import seed_everything
from gpt.stopping import Stop
from gpt.trainer import Trainer

log = logging.getLogger("gpt")


@dataclass(frozen=True)
class Setup:
    """What a configuration stands for."""

    text: str
    data: TextData
    model: nn.Module
    runtime: Runtime


def main(config: TrainConfig) -> None:
    """Train a stage, or go on with a run of one; leave a run folder that says what came out."""
    with Stop().listening() as stop:
        run = _run_to_go_on_with(config)
        if run is not None:
            with run.locked(), run.logging():
                _go_on(run, config, stop)
            return
        setup = _set_up(config)  # before there is a folder: what cannot be trained leaves none behind
        run = RunFolder.create(*cli.run_folder_place(config), reuse=config.resume == "auto")
        with run.locked(), run.logging():
            run.write_config(config)
            run.write_tokenizer(setup.data.tokenizer, setup.text)
            _train(run, config, setup, None, stop)


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


def _go_on(run: RunFolder, asked: TrainConfig, stop: Stop) -> None:
    automatic = asked.resume == "auto"
    path = run.path if automatic else Path(str(asked.resume))
    resumed = resume(path, asked, None if automatic else cli.given_keys())
    config, checkpoint = resumed.config, resumed.checkpoint
    if run.is_finished() and config.training.max_iters == run.summary().iterations:
        log.info(f"{run.path} is finished; training.max_iters=N takes it further")
        return
    setup = _set_up(config)
    if not run.is_of(setup.text):
        raise RequestError(f"the corpus is not the one that {run.path} was begun with")
    run.unfinish()
    run.write_config(config)
    iteration = checkpoint.progress.iteration if checkpoint else 0
    log.info(f"going on with {run.path} from iteration {iteration}")
    if resumed.changed:
        log.info(f"changed for the rest of the run: {', '.join(resumed.changed)}")
    _train(run, config, setup, checkpoint, stop)


def _set_up(config: TrainConfig) -> Setup:
    cli.changes_from_documented(config)  # refuses what no stage documents
    device = select_device(config.device)
    seed_everything(config.seed, deterministic=config.deterministic)
    source = config.data
    text = tiny_shakespeare(Path(source.dir)) if source.name == "shakespeare" else read_text(Path(source.path))
    data = TextData(text, block_size=config.model.block_size, train_fraction=source.train_fraction, device=device)
    model = models.build(config.model.target, vocab_size=len(data.tokenizer), **config.model.hyperparameters())
    model.to(device)
    return Setup(text, data, model, select_runtime(device, config.dtype, model))


def _train(run: RunFolder, config: TrainConfig, setup: Setup, checkpoint: Checkpoint | None, stop: Stop) -> None:
    started = time.perf_counter()
    data, model, runtime = setup.data, setup.model, setup.runtime
    changed = cli.changes_from_documented(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log.info(f"{config.stage}: {config.adds}; {parameters:,} parameters, seed {config.seed}, {runtime}")
    if changed:
        log.info(f"changed from the documented run: {', '.join(changed)}")
    trainer = Trainer(
        model,
        data,
        config.training,
        seed=config.seed,
        runtime=runtime,
        compile=config.compile,
        run=run,
        checkpoint=config.checkpoint,
        stop=stop,
    )
    if checkpoint is not None:
        trainer.restore(checkpoint)
    result = trainer.train()
    summary = summarise(
        config,
        result,
        parameters=parameters,
        exact_val=exact_loss(model, data, "val", runtime=runtime),
        changed=changed,
        runtime=runtime,
        seconds=time.perf_counter() - started,
    )
    write_atomically(run.path / "sample.txt", sample_text(model, data.tokenizer, seed=config.seed))
    plot_run(run, summary)
    run.write_summary(summary)
    log.info(closing_lines(summary, run))


if __name__ == "__main__":
    cli.main(main, TrainConfig, "train", verbatim=("data.path", "data.dir", "resume"))
