"""The commands: the one table that scripts, console commands, words without a key, schemas, tests and docs follow."""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # `python -m gpt` and the first moments of a script do without pydantic
    from pydantic import BaseModel


class Command(NamedTuple):
    """What `python -m gpt NAME` and gpt-NAME run; its keys and their values are in conf/NAME.yaml."""

    module: str  # has its function(config, request) and, if a sweep ends with a report, after_sweep(folder)
    schema: str  # the class of its configuration; without a module, one of gpt/base/command_schemas.py
    words: tuple[str, ...]  # keys that a word without a key may stand for, as in `train.py v5`; the first that fits
    purpose: str
    function: str = "main"
    is_script: bool = True  # whether there is a NAME.py for it

    def load_schema(self) -> "type[BaseModel]":
        """The class that checks its configuration."""
        module, _, name = self.schema.rpartition(".")
        return getattr(import_module(module or "gpt.base.command_schemas"), name)


def _managing(function: str, schema: str, words: tuple[str, ...], purpose: str) -> Command:
    return Command("gpt.session.managing", schema, words, purpose, function, is_script=False)


COMMANDS = {
    "train": Command("gpt.session.train", "gpt.base.schema.TrainConfig", ("model", "data.path"),
                     "train a stage of the ladder, or sweep over several: model=v5"),
    "generate": Command("gpt.session.generate", "GenerateConfig", ("model", "run", "prompt"),
                        'print text from a trained run: prompt="ROMEO:"'),
    "evaluate": Command("gpt.session.evaluate", "EvaluateConfig", ("model", "run", "text"),
                        "measure a run on held-out data or on a text"),
    "compare": Command("gpt.session.compare", "CompareConfig", ("model", "runs"),
                       "compare runs with the documented losses and with each other"),
    "search": Command("gpt.searching.command", "StudyConfig", ("model", "data.path"), "search for hyperparameters"),
    "export": Command("gpt.exporting.command", "ExportConfig", ("model", "run", "format"),
                      "export a run for other programs: format=onnx"),
    "play": Command("gpt.playground.command", "PlayConfig", ("model", "run", "runs"),
                    "open a page about the runs in the browser"),
    "runs": _managing("runs", "RunsConfig", ("model", "runs"), "list the runs, the newest first: since=7d"),
    "tag": _managing("tag", "TagConfig", ("runs", "tags"), "give tags to runs, and take them: RUN golden -wide"),
    "name": _managing("name", "NameConfig", ("run", "name"), "give a run another name: RUN best_v5"),
}  # fmt: skip
