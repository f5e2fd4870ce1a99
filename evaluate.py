"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

import sys

from tabulate import tabulate

from gpt import cli
from gpt.config import EvaluateConfig
from gpt.data import TextData
from gpt.device import select_device, select_runtime
from gpt.errors import RequestError
from gpt.evaluation import exact_loss
from gpt.loading import load
from gpt.runs import chosen_run


def main(config: EvaluateConfig) -> None:
    """The exact loss, and of a translator how its translations compare with the references."""
    run = chosen_run(config.run, config.runs)
    trained, tokenizer, model = run.config(), run.tokenizer(), run.load_model(config.weights)
    device = select_device(config.device)
    model.to(device)
    data, text = load(trained, device, tokenizer)
    if not run.is_of(text):
        raise RequestError(f"the corpus is not the one that {run.path} was trained on")
    runtime = select_runtime(device, "auto", model)
    split = "val" if isinstance(data, TextData) else config.split
    print(f"{trained.stage}, {config.weights} weights of {run.path}, {split} split", file=sys.stderr)
    rows = [["exact loss", f"{exact_loss(model, data, split, runtime=runtime):.4f}", "nats per token"]]
    if not isinstance(data, TextData):
        from gpt.scores import scores
        from gpt.translation import translate

        pairs = getattr(data.corpus, split)
        found = translate(model, data.tokenizer, [source for source, _ in pairs], config)
        rows += [[score.name, f"{score.value:.2f}", score.signature] for score in scores(found, [t for _, t in pairs])]
    print(tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True))


if __name__ == "__main__":
    cli.main(main, EvaluateConfig, "evaluate", verbatim=("run",))
