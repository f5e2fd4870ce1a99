"""Terminal output: UTF-8, one line per log record."""

import io
import logging
import sys

from gpt.errors import printable


class OneLine(logging.Formatter):
    """Formats a record as one line; control characters in it, from a corpus or a path, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record))


def use_utf8() -> None:
    """Write UTF-8: a corpus has characters that the terminal's own encoding may lack."""
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
