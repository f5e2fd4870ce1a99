"""The commands, each as a function: what train.py and gpt-train call. `python -m gpt` lists them."""

import atexit
import gc
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from gpt.base import stopping
from gpt.base.commands import COMMANDS
from gpt.base.installation import IS_CLONE
from gpt.base.version import __version__


def __getattr__(name: str) -> Callable[[], None]:
    """`from gpt.__main__ import train`, and so on: each command of the table is a function of this module."""
    if name not in COMMANDS:
        raise AttributeError(f"there is no command {name}")
    return partial(_run, name)


def _run(name: str) -> None:
    if sys.version_info >= (3, 14):  # whose argparse refuses Hydra's help texts
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"error: Hydra does not start on Python {version}: use Python 3.11, 3.12 or 3.13")
    atexit.register(gc.freeze)  # or Python would look for garbage in all that was imported, when the process ends
    stopping.start()  # before the imports, which take most of a second
    from gpt import cli

    module = import_module(COMMANDS[name].module)
    cli.main(module.main, name, after_sweep=getattr(module, "after_sweep", None))


def main() -> None:
    """Print the commands, as they are called in a clone or in an installed package."""
    lines = [f"{_typed(name):<20}  {command.purpose}" for name, command in COMMANDS.items()]
    match sys.argv[1:]:
        case [] | ["--help" | "-h", *_]:
            print(*lines, sep="\n")
            print("python -m gpt runs    list the runs; also tag, untag, name and clean")
            print("\n--help shows the keys of each command. In Python: gpt.train(...) and gpt.load(...).")
        case ["--version"]:
            print(f"gpt-ladder {__version__}")
        case [("runs" | "tag" | "untag" | "name" | "clean") as command, *words]:
            from gpt.base.console import open_streams
            from gpt.cli.failing import one_line_errors
            from gpt.session import managing

            open_streams()
            with one_line_errors():
                managing.main(command, words)
        case [word, *_]:
            hint = f": did you mean {_typed(word)}?" if word in COMMANDS else "; alone, it lists the commands"
            print(f"error: python -m gpt does not take {word!r}{hint}", file=sys.stderr)
            sys.exit(2)


def _typed(name: str) -> str:
    return f"python {name}.py" if IS_CLONE else f"gpt-{name}"


if __name__ == "__main__":
    main()
