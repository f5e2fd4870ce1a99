"""The commands, each as a function: what train.py and gpt-train call. `python -m gpt` lists them."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

from gpt.base import stopping
from gpt.base.commands import COMMANDS
from gpt.base.installation import IS_CLONE


def __getattr__(name: str) -> Callable[[], None]:
    """`from gpt.__main__ import train`, and so on: each command of the table is a function of this module."""
    if name not in COMMANDS:
        raise AttributeError(f"there is no command {name}")
    return partial(_run, name)


def _run(name: str) -> None:
    stopping.start()  # before the imports, which take most of a second
    from gpt import cli

    module = import_module(COMMANDS[name].module)
    cli.main(module.main, name, after_sweep=getattr(module, "after_sweep", None))


def main() -> None:
    """Print the commands, as they are called in a clone or in an installed package."""
    for name, command in COMMANDS.items():
        typed = f"python {name}.py" if IS_CLONE else f"gpt-{name}"
        print(f"{typed:<20}  {command.purpose}")
    print("\n--help shows the keys of each command. In Python: gpt.train(...) and gpt.load(...).")


if __name__ == "__main__":
    main()
