"""Scripts called in the present process, where no process of their own is what is tested.

As a script, it calls several one after the other: its standard input is JSON, their commands.
"""

import contextlib
import io
import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock


def call(command: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """`python SCRIPT ARGUMENTS`, with nothing left behind."""
    from hydra.core.global_hydra import GlobalHydra

    out, err, code = io.StringIO(), io.StringIO(), 0
    _forget_the_log()  # of a test that has called a command without this function
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", list(command)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
            if isinstance(stopped.code, str):
                err.write(f"{stopped.code}\n")
        finally:
            GlobalHydra.instance().clear()
            _forget_the_log()
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def _forget_the_log() -> None:
    """The handlers of the console write to streams that are no longer there."""
    from gpt.base import console

    logger = logging.getLogger("gpt")
    for handler in console._shown:
        logger.removeHandler(handler)
    console._shown.clear()
    logger.propagate, logging.raiseExceptions = True, True


if __name__ == "__main__":
    for command in json.load(sys.stdin):
        done = call(command, Path.cwd(), {})
        print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
