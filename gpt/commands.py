"""The commands, each as a function: what train.py and gpt-train call, and what `python -m gpt` lists."""

import importlib
from functools import partial

from gpt.base import stopping

# The module whose `command` it is, and what it does.
COMMANDS = {
    "train": ("gpt.session.train", "train a stage of the ladder, or sweep over several: model=v5"),
    "generate": ("gpt.session.generate", 'print text from a trained run: prompt="ROMEO:"'),
    "evaluate": ("gpt.session.evaluate", "measure a run on held-out data or on a text"),
    "compare": ("gpt.reports.compare", "compare runs with what was documented and with each other"),
    "search": ("gpt.apps.searching.command", "search for hyperparameters"),
    "export": ("gpt.apps.exporting.command", "export a run for other programs: format=onnx"),
    "play": ("gpt.apps.playground.command", "open a page on the runs in the browser"),
}


def _run(name: str) -> None:
    stopping.start()  # before the imports, which take most of a second
    module, _ = COMMANDS[name]
    importlib.import_module(module).command()


train, generate, evaluate, compare, search, export, play = (partial(_run, name) for name in COMMANDS)
