"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

import shlex
import sys

from gpt.base.errors import RequestError, printable
from gpt.base.paths import is_path
from gpt.base.runtime import keep_freed_memory
from gpt.config.command import Command
from gpt.config.command_schemas import EvaluateConfig
from gpt.session.measuring import measured
from gpt.session.trained import load_run


def main(config: EvaluateConfig, command: Command) -> None:
    """Print the exact loss and, for a run that translates, the scores of its translations."""
    try:
        trained = load_run(
            config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device
        )
    except RequestError as error:
        if config.run is None or config.text is not None or is_path(config.run):
            raise
        raise RequestError(f"{error}; text={shlex.quote(config.run)} measures that text") from None
    keep_freed_memory(trained.device)
    with trained.runtime.settings():
        found = measured(trained, config, command.given)
    if config.as_json:
        print(found.as_json(indent=2))
        return
    print(printable(found.title), file=sys.stderr)
    print(found.table())
