"""Terminal output: UTF-8, one line per log record."""

import io
import logging
import os
import sys

from gpt.errors import printable

_shown: list[logging.Handler] = []  # for reports, for warnings


class OneLine(logging.Formatter):
    """Formats a record as one line; control characters in it, from a corpus or a path, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record))


def command(name: str) -> str:
    """How the user runs a script: "python train.py", or "gpt-train" if that is how this process was started."""
    return f"gpt-{name}" if "GPT_COMMANDS" in os.environ else f"python {name}.py"


def open_streams() -> None:
    """Prepare the standard streams: UTF-8, because a corpus has characters that a terminal's encoding may lack.

    A stream that is closed becomes the null device. Otherwise the next file that is opened would take its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # os.open takes the lowest free number, which is that of the stream
            handle = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(handle, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")


def show_log(prefix: str = "") -> None:
    """Show what the package logs: reports on standard output, warnings on standard error, each after a prefix.

    The prefix tells the jobs apart that run side by side; a worker process may have several, one after the other.
    """
    logger = logging.getLogger("gpt")
    logging.raiseExceptions = False  # a closed terminal or a full disk must not end a run
    if not _shown:  # a sweep comes here once per job
        report, warnings = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
        report.addFilter(lambda record: record.levelno < logging.WARNING)
        warnings.setLevel(logging.WARNING)
        _shown[:] = [report, warnings]
        logger.addHandler(report)
        logger.addHandler(warnings)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    for handler, label in zip(_shown, ("", "warning: "), strict=True):
        handler.setFormatter(OneLine(f"{prefix}{label}%(message)s"))
