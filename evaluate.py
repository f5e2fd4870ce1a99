"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

import sys

from gpt import cli
from gpt.config import EvaluateConfig


def main(config: EvaluateConfig) -> None:
    """Print the exact loss, and for a translator how its translations compare with the references."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from tabulate import tabulate

    from gpt import tasks
    from gpt.data.corpora import located
    from gpt.errors import RequestError, printable
    from gpt.runs.folder import chosen_run
    from gpt.runs.weights import load_model, selected
    from gpt.runtime import select_device, select_runtime
    from gpt.training.evaluation import exact_loss

    run = chosen_run(config.run, config.runs, config.stage)
    trained, vocabulary, which = run.config(), run.vocabulary(), selected(run, config.weights)
    device = select_device(config.device)
    model = load_model(run, which).to(device)
    where = located(trained.data, vocabulary.files, config.data, cli.given_keys())
    task, corpus = tasks.load(where, trained.model, vocabulary)
    task.refuse_others(cli.given_keys())
    if vocabulary.corpus != corpus.digest:
        raise RequestError(f"the corpus is not the one that {run.path} was trained on")
    split = task.split(config.split)
    data = task.data(corpus, model, device)
    runtime = select_runtime(device, "auto", model)
    print(printable(f"{trained.stage}, {which} weights of {run.path}, {split} split"), file=sys.stderr)
    loss = exact_loss(model, data, split, runtime=runtime)
    rows = [("exact loss", f"{loss:.4f}", "nats per token"), *task.scores(model, corpus, split, config)]
    print(tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True))


if __name__ == "__main__":
    cli.main(main, EvaluateConfig, "evaluate", verbatim=("run", "data.path", "data.dir", "data.source", "data.target"))
