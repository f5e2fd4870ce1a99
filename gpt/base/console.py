"""Terminal output: UTF-8, one line per log record, coloured."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from gpt.base.commands import COMMANDS
from gpt.base.errors import printable
from gpt.base.installation import IS_CLONE

_shown: list[logging.StreamHandler] = []  # the handler of reports, then of warnings

_RED, _YELLOW = "31", "33"  # SGR parameters of ECMA-48, which terminals understand


class OneLine(logging.Formatter):
    """Formats a record as one line; control characters in it, from a corpus or a path, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record))


class _Yellow(OneLine):
    """The same, with warnings in yellow."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = super().format(record)
        return _in(_YELLOW, line) if record.levelno >= logging.WARNING else line


def in_red(line: str, stream: TextIO) -> str:
    """The line, in red if the stream is a terminal."""
    return _in(_RED, line) if _has_colours(stream) else line


def _in(colour: str, text: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def _has_colours(stream: TextIO) -> bool:
    """Whether the stream is a terminal and the user has not disabled colour (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def command(name: str) -> str:
    """How to call a command: "gpt train" if it is installed; in a clone, "python train.py" or "python -m gpt runs"."""
    if "GPT_COMMANDS" in os.environ or not IS_CLONE:
        return f"gpt {name}"
    return f"python {name}.py" if COMMANDS[name].is_script else f"python -m gpt {name}"


def usage(name: str) -> str:
    """The command line of a command, as argparse would show it."""
    return f"{command(name)} {' '.join(COMMANDS[name].words.values())} KEY=VALUE..."


def open_streams() -> None:
    """Use UTF-8 in the standard streams: a corpus may contain characters that the terminal's encoding lacks."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape" if stream is sys.stdin else "strict")


def read_standard_input(what: str) -> str:
    """All of standard input; bytes that are not UTF-8 become surrogates."""
    print(f"reading {what} from standard input", file=sys.stderr, flush=True)  # It may not have ended.
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


def show_log(prefix: str = "", *, reports: TextIO | None = None) -> None:
    """Print the package's log: reports to standard output or another stream, warnings to standard error.

    A prefix of each line distinguishes jobs that run side by side; a worker process may run several jobs in succession.
    """
    logger = logging.getLogger("gpt")
    logging.raiseExceptions = False  # Output that is lost, as when a terminal is closed, must not end a run.
    if not _shown:  # called once per job of a sweep
        _shown[:] = [logging.StreamHandler(reports or sys.stdout), logging.StreamHandler(sys.stderr)]
        _shown[0].addFilter(lambda record: record.levelno < logging.WARNING)
        _shown[1].setLevel(logging.WARNING)
        for handler in _shown:
            logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    for handler, label in zip(_shown, ("", "warning: "), strict=True):
        formatter = _Yellow if _has_colours(handler.stream) else OneLine
        handler.setFormatter(formatter(f"{prefix}{label}%(message)s"))


@contextlib.contextmanager
def reports_hidden() -> Iterator[None]:
    """Show warnings only: for the runs of a search."""
    reports = [handler for handler in _shown if handler.level < logging.WARNING]
    for handler in reports:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler in reports:
            handler.setLevel(logging.NOTSET)


@contextlib.contextmanager
def showing_warnings() -> Iterator[None]:
    """Show the package's warnings inside a program that has its own logging, and restore that logging afterwards."""
    logger = logging.getLogger("gpt")
    level, propagates, handler = logger.level, logger.propagate, logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(OneLine("warning: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)  # for the log of a run folder
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
