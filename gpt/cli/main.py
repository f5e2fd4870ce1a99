"""The command line of the scripts: Hydra composes the configuration, the schema checks it, and errors become one line.

This package and gpt/config alone import Hydra. They do not import torch, so --help and completion are fast.
"""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import BaseModel

from gpt.base import console, stopping
from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.version import __version__
from gpt.cli import help, sweeps  # noqa: A004
from gpt.cli.callback import SweepCallback
from gpt.cli.command_line import CommandLine
from gpt.cli.failing import JobError, explained, one_line_errors
from gpt.cli.job import is_sweep, job_overrides, job_title, request_of_job
from gpt.config import given_code
from gpt.config.composing import VERSION
from gpt.config.grammar import quoted
from gpt.config.keys import escaping
from gpt.config.override import Override
from gpt.config.request import Request
from gpt.config.requesting import resolved

log = logging.getLogger("gpt")


def main(
    task: Callable[[Any, Request], Any], config_name: str, *, after_sweep: Callable[[Path], None] | None = None
) -> None:
    """Run `task` with the configuration composed from conf/<config_name>.yaml and the command line, and the request.

    The schema is that of the command of this name. Values of its literal keys are taken as typed, including commas,
    quotes and brackets, without Hydra's grammar; in a sweep (-m), the grammar applies to them too. `after_sweep` is
    called with the folder of a sweep at its end.
    """
    schema = COMMANDS[config_name].load_schema()
    console.open_streams()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, instead of printed by Hydra
    with one_line_errors():
        _answer_at_once(schema, config_name)
        line = _command_line(schema, config_name)
        own, rest = line.divided(schema.model_fields) if config_name == "search" else (line, ())
        overrides, texts = quoted(own.overrides, schema, is_sweep=line.is_sweep)
        sys.argv[1:] = own.for_hydra(overrides)
    sweep = SweepCallback.sweep = sweeps.Sweep()  # A worker process gets a copy, in the closure of its job.
    composed: list[bool] = []

    def job(config: DictConfig) -> Any:
        composed.append(True)
        number = HydraConfig.get().job.num + 1 if is_sweep() else 1
        launcher = sweeps.launcher(HydraConfig.get()) if is_sweep() else None
        parent = parent_process() if launcher == "joblib" else None  # Other launchers have no long-lived parent.
        worker = nullcontext() if parent is None or parent.pid is None else stopping.following(parent.pid)
        with worker, one_line_errors(sweep):
            console.show_log(f"[{number}] " if launcher == "joblib" else "")
            if is_sweep() and config.get("json") is not True:
                log.info(job_title(sweep))
            given_code.taken(job_overrides())  # a worker, of joblib for example, was given nothing yet
            escaped = {each.key for each in job_overrides()}.intersection(escaping(schema)) if is_sweep() else ()
            values = resolved(config, texts, escaped)
            if launcher == "submitit" and "resume" in values:  # a requeued job has its original command line
                values["resume"] = values["resume"] or "auto"
            if is_sweep() and "name" in values:
                values["name"] = sweep.name(values["name"], number)
            checked = schema.model_validate(values)
            return task(checked, request_of_job(config_name, line.typed, checked, sweep.keys, rest))

    failed: JobError | None = None
    with one_line_errors(sweep):
        try:
            with explained(config_name, overrides, lambda: bool(composed)):
                hydra.main(**VERSION, config_path=str(CONF), config_name=config_name)(job)()
        except JobError as error:
            failed = error
        finally:
            sweep.remove_empty_folders()
        if after_sweep is not None and sweep.folder is not None and not sweep.is_json:
            after_sweep(sweep.folder)
        if failed is not None:
            raise failed


def _answer_at_once(schema: type[BaseModel], config_name: str) -> None:
    """Answer --version and --help, whatever else is wrong with the command line, and exit."""
    words = sys.argv[1:]
    if "--version" in words:
        print(f"gpt-ladder {__version__}", flush=True)
        sys.exit()
    if not {"-h", "--help"}.isdisjoint(words):
        overrides: list[Override] = []
        with suppress(RequestError):
            line = CommandLine.read([word for word in words if word != "all"], config_name, schema)
            overrides, _ = quoted(line.overrides, schema)
        print(help.text(config_name, schema, [*map(str, overrides)], is_whole="all" in words), flush=True)
        sys.exit()


def _command_line(schema: type[BaseModel], config_name: str) -> CommandLine:
    """The command line, or that of the sweep which it continues. Raises RequestError for what Hydra would ignore."""
    line = CommandLine.read(sys.argv[1:], config_name, schema)
    if config_name == "train" and (words := sweeps.continued(line)) is not None:
        line = CommandLine.read(words, config_name, schema)
    line.refuse_hidden()
    return line
