"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import logging
import time
from pathlib import Path

from gpt import cli, models
from gpt.config import TrainConfig
from gpt.corpus import read_text, tiny_shakespeare
from gpt.data import TextData
from gpt.device import select_device, select_runtime
from gpt.evaluation import exact_loss
from gpt.files import write_atomically
from gpt.report import closing_lines, plot_run, summarise
from gpt.runs import RunFolder
from gpt.sampling import sample_text
from gpt.seeding import seed_everything
from gpt.trainer import train

log = logging.getLogger("gpt")


def main(config: TrainConfig) -> None:
    """Train a stage, measure it, and leave a run folder that says what came out."""
    started = time.perf_counter()
    changed = cli.changes_from_documented(config)
    device = select_device(config.device)
    seed_everything(config.seed, deterministic=config.deterministic)

    source = config.data
    text = tiny_shakespeare(Path(source.dir)) if source.name == "shakespeare" else read_text(Path(source.path))
    data = TextData(text, block_size=config.model.block_size, train_fraction=source.train_fraction, device=device)
    model = models.build(config.model.target, vocab_size=len(data.tokenizer), **config.model.hyperparameters())
    model.to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    runtime = select_runtime(device, config.dtype, model)

    run = RunFolder.create(*cli.run_folder_place(config))
    run.write_config(config)
    run.write_tokenizer(data.tokenizer)
    with run.logging():
        log.info(f"{config.stage}: {config.adds}; {parameters:,} parameters, seed {config.seed}, {runtime}")
        if changed:
            log.info(f"changed from the documented run: {', '.join(changed)}")
        result = train(model, data, config.training, seed=config.seed, runtime=runtime, compile=config.compile, run=run)
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
    cli.main(main, TrainConfig, "train", verbatim=("data.path", "data.dir"))
