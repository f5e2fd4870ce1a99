"""The command line of the scripts: Hydra composes the configuration, the schema checks it, and errors become one line.

This package and gpt/config alone import Hydra. They do not import torch, so --help and completion are fast.
"""

import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
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
from gpt.cli import arguments, bare_words, help, requesting, sweeps  # noqa: A004
from gpt.cli.failing import JobError, explained, is_sweep, job_title, one_line_errors
from gpt.config.composing import VERSION
from gpt.config.keys import escaping
from gpt.config.request import Request

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
    if re.match("gpt(-|$)", Path(sys.argv[0]).name):
        os.environ["GPT_COMMANDS"] = "1"  # for messages that name a command; joblib's workers inherit it
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, instead of printed by Hydra
    with one_line_errors():
        if config_name == "train":
            sys.argv[1:] = sweeps.continued(sys.argv[1:])
        typed = sys.argv[1:]
        texts, rest = _prepare_arguments(schema, config_name)
    if "hydra.mode=MULTIRUN" in sys.argv or _sweeps(typed):
        stopping.start_sweep(stopping.REPEAT if config_name == "train" else "stopped")
    composed: list[bool] = []

    def job(config: DictConfig) -> Any:
        composed.append(True)
        stopping.begin_job()
        launcher = sweeps.launcher(HydraConfig.get()) if is_sweep() else None
        worker = stopping.within_sweep() if launcher == "joblib" else nullcontext()  # others have no long-lived parent
        with worker, one_line_errors(), stopping.requeued():
            side_by_side = launcher in ("joblib", "ray")
            console.show_log(f"[{HydraConfig.get().job.num + 1}] " if side_by_side else "")
            if is_sweep() and config.get("json") is not True:
                log.info(job_title())
            values = requesting.resolved(config, texts, escaping(schema) if is_sweep() else ())
            if launcher == "submitit" and "resume" in values:  # a requeued job has its original command line
                values["resume"] = values["resume"] or "auto"
            checked = schema.model_validate(values)
            return task(checked, requesting.of_job(config_name, typed, checked, rest))

    failed: JobError | None = None
    with one_line_errors():
        try:
            with explained(config_name, lambda: bool(composed)):
                hydra.main(**VERSION, config_path=str(CONF), config_name=config_name)(job)()
        except JobError as error:
            failed = error
        finally:
            sweeps.remove_empty_folders()
        if after_sweep is not None and (folder := sweeps.folder()) is not None and not sweeps.is_json():
            after_sweep(folder)
        if failed is not None:
            raise failed


def _prepare_arguments(schema: type[BaseModel], config_name: str) -> tuple[dict[str, str | list[str]], list[str]]:
    """Rewrite sys.argv for Hydra; return the literal values, and search.py's arguments for train.py."""
    if _sweeps(sys.argv) and not {"--cfg", "-c", "--info", "-i"}.isdisjoint(sys.argv):
        raise RequestError("--cfg and --info show a single job: remove -m and give each key one value")
    if "--version" in sys.argv:
        print(f"gpt-ladder {__version__}", flush=True)
        sys.exit()
    if not {"-h", "--help"}.isdisjoint(sys.argv):
        is_whole = "all" in sys.argv
        sys.argv[1:] = [word for word in sys.argv[1:] if word != "all"]
        overrides: list[str] = []
        with suppress(RequestError):  # the help is shown whatever is wrong
            overrides, _ = arguments.quoted(_keyed(schema, config_name)[1], schema)
        print(help.text(config_name, schema, overrides, is_whole=is_whole), flush=True)
        sys.exit()
    options, overrides = _keyed(schema, config_name)
    if "--experimental-rerun" in options and overrides:
        raise RequestError(f"--experimental-rerun repeats a job as it was: omit {overrides[0]}")
    ordered = [*options, *overrides]
    arguments.refuse_hidden(ordered, CONF)
    rest: list[str] = []
    own = ordered
    if config_name == "search":
        own, rest = arguments.divided(ordered, schema.model_fields)
    elif config_name != "train" and "stage" in schema.model_fields:  # Hydra would look for model=NAME in conf/model/
        own = [re.sub(r"^model=", "stage=", argument) for argument in ordered]
    sys.argv[1:], texts = arguments.quoted(arguments.with_mode(own, CONF), schema, is_sweep=_sweeps(own))
    return texts, rest


def _keyed(schema: type[BaseModel], config_name: str) -> tuple[list[str], list[str]]:
    """The options of the command line, and its overrides, with a key for each word that has none."""
    options, rest = arguments.divided_options(sys.argv[1:])
    return options, bare_words.keyed(rest, config_name, schema, is_sweep=_sweeps(options))


def _sweeps(typed: list[str]) -> bool:
    return not {"-m", "--multirun"}.isdisjoint(typed)
