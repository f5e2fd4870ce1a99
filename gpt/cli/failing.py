"""How a script fails: one line and an exit code, also for a job of a sweep."""

import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from gpt.base import console
from gpt.base.errors import RequestError, UserError, printable, report
from gpt.base.stopping import Stopped
from gpt.cli.job import is_sweep, job_title
from gpt.cli.sweeps import Refusal, Sweep
from gpt.config.explanations import explain_composition, one_line
from gpt.config.override import Override


class JobError(UserError):
    """A job of a sweep failed and printed its error; Hydra runs the other jobs and raises this at the end."""


@contextmanager
def one_line_errors(sweep: Sweep | None = None) -> Iterator[None]:
    """Report errors that the user can fix as one line on standard error and an exit code; a bug keeps its traceback."""
    sweep = sweep or Sweep()
    try:
        yield
        sys.stdout.flush()  # it fails here, and not when nothing can be said of it
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except JobError as error:
        # The logs hold the error lines if this terminal does not.
        where = f": {error}; logs in {sweep.logs}" if sweep.logs else ""
        _exit(f"not every job of the sweep succeeded{where}", error.exit_code)
    except Stopped as error:  # ends the sweep too: the signal was not meant for one job
        message = str(error)
        if is_sweep() and HydraConfig.get().job.config_name == "train":
            folder = shlex.quote(HydraConfig.get().sweep.dir)
            message += f"; resume the sweep with: {console.command('train')} resume={folder}"
        _exit(message, error.exit_code, prefix="")
    except Exception as error:
        reported = report(error)
        if reported is None:
            raise
        message, code = reported
        if not is_sweep():
            _exit(message, code)
        failed = JobError(f"{job_title(sweep)}: {message}")
        print(console.in_red(printable(f"error: {failed}"), sys.stderr), file=sys.stderr)
        failed.exit_code = code
        raise failed from error


@contextmanager
def explained(config_name: str, overrides: Sequence[Override], is_composed: Callable[[], bool]) -> Iterator[None]:
    """Turn the errors of Hydra, YAML and launchers about these overrides into a UserError.

    `is_composed` tells whether the configuration was composed: an error after that is a bug rather than a bad command
    line.
    """
    try:
        yield
    except HydraException as error:
        raise RequestError(explain_composition(error, config_name, overrides)) from error
    except yaml.YAMLError as error:
        raise RequestError(one_line(error)) from error
    except Refusal as refused:
        raise RequestError(str(refused)) from None
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, _errors_of_cluster()):
            raise UserError(f"submitit: {textwrap.shorten(str(error), 400)}") from error
        if is_composed() or not isinstance(error, ValueError | TypeError | RecursionError | AssertionError):
            raise
        raise RequestError(f"Hydra cannot compose this command line: {one_line(error)}") from error


def _errors_of_cluster() -> tuple[type[Exception], ...]:
    """What submitit raises, once it is used, if a job is refused or lost."""
    utils = sys.modules.get("submitit.core.utils")
    return () if utils is None else (utils.UncompletedJobError, utils.FailedSubmissionError)


def _exit(message: str, code: int, *, prefix: str = "error: ") -> NoReturn:
    """Print a line and exit."""
    line = f"{prefix}{printable(message)}"
    # In a single write, because processes that torchrun started end at the same moment.
    print(f"{console.in_red(line, sys.stderr) if prefix else line}\n", end="", file=sys.stderr)
    sys.exit(code)
