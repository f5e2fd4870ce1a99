"""The commands, each as a function: what train.py and gpt-train call. `python -m gpt` lists them."""

import importlib
from functools import partial

from gpt.base import stopping
from gpt.base.installation import IS_CLONE

# Each command's module and what it does.
COMMANDS = {
    "train": ("gpt.session.train", "train a stage of the ladder, or sweep over several: model=v5"),
    "generate": ("gpt.session.generate", 'print text from a trained run: prompt="ROMEO:"'),
    "evaluate": ("gpt.session.evaluate", "measure a run on held-out data or on a text"),
    "compare": ("gpt.session.compare", "compare runs with the documented losses and with each other"),
    "search": ("gpt.searching.command", "search for hyperparameters"),
    "export": ("gpt.exporting.command", "export a run for other programs: format=onnx"),
    "play": ("gpt.playground.command", "open a page about the runs in the browser"),
}


def _run(name: str) -> None:
    stopping.start()  # before the imports, which take most of a second
    module, _ = COMMANDS[name]
    importlib.import_module(module).command()


train, generate, evaluate, compare, search, export, play = (partial(_run, name) for name in COMMANDS)


def main() -> None:
    """Print the commands, as they are called in a clone or in an installed package."""
    for name, (_, purpose) in COMMANDS.items():
        command = f"python {name}.py" if IS_CLONE else f"gpt-{name}"
        print(f"{command:<20}  {purpose}")
    print("\n--help shows the keys of each command. In Python: gpt.train(...) and gpt.load(...).")


if __name__ == "__main__":
    main()
