"""The commands: what train.py and `gpt train` call. `python -m gpt` lists them."""

import atexit
import gc
import os
import sys
from pathlib import Path

from gpt.base.commands import COMMANDS, OTHER_WORDS
from gpt.base.console import command
from gpt.base.version import __version__


def main(name: str | None = None) -> None:
    """Run the command `name` or, without a name, the one that the first word names; or print all commands."""
    if Path(sys.argv[0]).stem == "gpt":
        os.environ["GPT_COMMANDS"] = "1"  # for messages that name a command; joblib's workers inherit it
    match sys.argv[1:]:
        case _ if name is not None:
            _run(name)
        case [] | ["--help" | "-h", *_]:
            print(*(f"{command(name):<20}  {each.purpose}" for name, each in COMMANDS.items()), sep="\n")
            print("\n--help shows the keys of each command. In Python: gpt.train(...) and gpt.load(...).")
        case ["--version"]:
            print(f"gpt-ladder {__version__}")
        case [name, *words] if name in COMMANDS:
            sys.argv[1:] = words
            _run(name)
        case [word, *_]:
            other = OTHER_WORDS.get(word)
            meant = f"type `{command(other) if other in COMMANDS else other}`" if other else "--help lists them"
            print(f"error: there is no command {word!r}: {meant}", file=sys.stderr)
            sys.exit(2)


def _run(name: str) -> None:
    if sys.version_info >= (3, 14):  # Its argparse refuses Hydra's help texts.
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"error: Hydra does not start on Python {version}: use Python 3.11, 3.12 or 3.13")
    atexit.register(gc.freeze)  # Skip garbage collection at exit: it takes 0.2 s.
    try:
        from gpt.cli.main import main as run_command

        run_command(name)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
