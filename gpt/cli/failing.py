"""How a command fails: one line and an exit code."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gpt.base import console
from gpt.base.errors import printable, report
from gpt.base.stopping import Stopped


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report errors that the user can fix as one line on standard error and an exit code; a bug keeps its traceback."""
    try:
        yield
        sys.stdout.flush()  # it fails here, and not when nothing can be said of it
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Stopped as error:
        end(str(error), error.exit_code, prefix="")
    except Exception as error:
        reported = report(error)
        if reported is None:
            raise
        end(*reported)


def end(message: str, code: int, *, prefix: str = "error: ") -> NoReturn:
    """Print a line and exit."""
    line = f"{prefix}{printable(message)}"
    # In a single write, because processes that torchrun started end at the same moment.
    print(f"{console.in_red(line, sys.stderr) if prefix else line}\n", end="", file=sys.stderr)
    sys.exit(code)
