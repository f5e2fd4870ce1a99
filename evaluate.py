"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

import json
import math
import sys
from pathlib import Path

from gpt import cli
from gpt.config import DATA_PATHS, EvaluateConfig


def main(config: EvaluateConfig) -> None:
    """Print the exact loss, and for a translator how its translations compare with the references."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from tabulate import tabulate

    from gpt.data.corpora import read_text
    from gpt.errors import RequestError, printable
    from gpt.tasks.task import Measure
    from gpt.trained import load_run
    from gpt.training.evaluation import exact_loss, loss_in_context

    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device)
    run, model = trained.run, trained.model
    trained.task.refuse_others(cli.given_keys())
    data_keys = [key for key in cli.given_keys() if key.startswith("data.")]
    scores: list[Measure] = []
    if config.text is not None:
        if config.split is not None:
            raise RequestError("text= is measured as a whole: omit split=")
        if data_keys:
            raise RequestError(f"text= is measured alone: omit {data_keys[0]}=")
        what = f"the text {config.text}"
        loss = trained.loss(read_text(Path(config.text)))
    else:
        task = trained.task
        split = task.split(config.split)
        corpus = trained.corpus(config.data, data_keys)
        what = f"{split} split"
        data = task.data(corpus, model, trained.device)
        if split == "train":
            task.prepare(model, data)  # v8 leaves out what it counted around a window, as in training
        loss = exact_loss(model, data, split, runtime=trained.runtime)
        scores = task.scores(model, corpus, split, config)
        in_context = loss_in_context(model, data, split, runtime=trained.runtime)
        if in_context is not None:
            unit = f"nats per {task.token}, each with at least half a window of context"
            scores.append(Measure("in sliding windows", in_context, unit, digits=4))
    bits, token = loss / math.log(2), trained.task.token
    if config.as_json:
        found = {score.name: {"value": score.value, "signature": score.unit} for score in scores}
        named = {"run": str(run.path), "stage": trained.config.stage, "weights": trained.which, "measured": what}
        print(json.dumps(named | {f"nats_per_{token}": loss, f"bits_per_{token}": bits} | found, indent=2))
        return
    print(printable(f"{trained.config.stage}, {trained.which} weights of {run.path}, {what}"), file=sys.stderr)
    rows = [("exact loss", f"{loss:.4f}", f"nats per {token}"), ("", f"{bits:.4f}", f"bits per {token}")]
    rows += [(score.name, f"{score.value:.{score.digits}f}", score.unit) for score in scores]
    print(tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True))


if __name__ == "__main__":
    cli.main(main, EvaluateConfig, "evaluate", verbatim=("run", "text", *DATA_PATHS))
