"""Terminal output: UTF-8, one line per log record."""

import io
import logging
import os
import sys

from gpt.errors import printable


class OneLine(logging.Formatter):
    """Formats a record as one line; control characters in it, from a corpus or a path, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record))


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


def show_log() -> None:
    """Show what the package logs: reports on standard output, warnings on standard error."""
    logger = logging.getLogger("gpt")
    logging.raiseExceptions = False  # a closed terminal or a full disk must not end a run
    if not logger.handlers:  # a sweep comes here once per job
        report, warnings = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
        report.addFilter(lambda record: record.levelno < logging.WARNING)
        warnings.setLevel(logging.WARNING)
        report.setFormatter(OneLine())
        warnings.setFormatter(OneLine("warning: %(message)s"))
        logger.addHandler(report)
        logger.addHandler(warnings)
        logger.setLevel(logging.INFO)
        logger.propagate = False
