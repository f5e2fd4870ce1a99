"""The command line: its words are read, the configuration is composed and checked, and the command is called."""

import itertools
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

import yaml
from hydra.types import RunMode

from gpt.base import console
from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.base.version import __version__
from gpt.cli import help  # noqa: A004
from gpt.cli.failing import one_line_errors
from gpt.config.command import Command
from gpt.config.composing import compose, content_of, hydra_word, settings_of_hydra
from gpt.config.conf import is_choice
from gpt.config.reading import MULTIRUN, read
from gpt.config.settings import settings_of

_SHOWING = {"--cfg", "-c", "--info", "-i"}


def main(name: str) -> None:
    """Run the command `name` with its checked settings; a sweep (-m) runs it once for each job."""
    console.open_streams()
    with one_line_errors():
        _answer_at_once(name)
        command = read(name, sys.argv[1:])
        if name != "train":
            if not {*MULTIRUN}.isdisjoint(command.options):
                raise RequestError("-m is for train.py: a search runs one training after another by itself")
            # What these commands print is for programs, too.
            console.show_log(reports=sys.stdout if name == "search" else sys.stderr)
            settings = settings_of(command)
            COMMANDS[name].load()(settings, command)
            return
        if "resume" in command.settings:
            command = _sweeps().continued(command)
        if not _SHOWING.isdisjoint(command.options):
            if not {*MULTIRUN}.isdisjoint(command.options):
                raise RequestError("--cfg and --info show one configuration: omit -m")
            _show(command)
        elif _is_sweep(command):
            _sweeps().run(command)
        else:
            console.show_log()
            config = compose(command)
            COMMANDS[name].load()(config, command)


def _is_sweep(command: Command) -> bool:
    """Whether a command is for several jobs: -m, or an experiment that sweeps."""
    return not {*MULTIRUN}.isdisjoint(command.options) or settings_of_hydra(command).mode == RunMode.MULTIRUN


def _sweeps() -> ModuleType:
    from gpt.cli import sweeps  # it imports all of Hydra

    return sweeps


def _answer_at_once(name: str) -> None:
    """Answer --version and --help, whatever else is wrong with the command line, and exit."""
    words = sys.argv[1:]
    if "--version" in words:
        print(f"gpt-ladder {__version__}", flush=True)
        sys.exit()
    if not {"-h", "--help"}.isdisjoint(words):
        command = Command(name)
        with suppress(RequestError):
            command = read(name, [word for word in words if word != "all"])
        print(help.text(command, is_whole="all" in words), flush=True)
        sys.exit()
    if not {"-sc", "--shell-completion", "--hydra-help"}.isdisjoint(words) and name == "train":
        _sweeps().call_hydra(words)
        sys.exit()


def _show(command: Command) -> None:
    """Print what a command composes, or what Hydra has: --cfg job, hydra or all, of them --package NAME; --info."""
    options = dict(itertools.pairwise(command.options))
    if options.get("--cfg", options.get("-c")) != "job":
        _sweeps().call_hydra(
            [*command.options, *(hydra_word(k, v) for k, v in command.settings.items() if is_choice(k))]
        )
        return
    content: Any = content_of(command)
    if package := options.get("--package", options.get("-p")):
        for name in package.split("."):
            content = content[name]
    print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")
