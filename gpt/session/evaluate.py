"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

import sys

from gpt.config.command_schemas import EvaluateConfig
from gpt.config.request import Request


def main(config: EvaluateConfig, request: Request) -> None:
    """Print the exact loss and, for a run that translates, the scores of its translations."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.errors import printable
    from gpt.base.runtime import keep_freed_memory
    from gpt.session.measuring import measured
    from gpt.session.trained import load_run

    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device)
    keep_freed_memory(trained.device)
    with trained.runtime.settings():
        found = measured(trained, config, request.given)
    if config.as_json:
        print(found.as_json(indent=None if request.is_of_sweep else 2))
        return
    print(printable(found.title), file=sys.stderr)
    print(found.table())
