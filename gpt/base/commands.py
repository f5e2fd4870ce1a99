"""The commands: the one table that scripts, console commands, words without a key, schemas, tests and docs follow."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # `python -m gpt` and the first moments of a script do without pydantic
    from collections.abc import Callable

    from pydantic import BaseModel


class CommandSpec(NamedTuple):
    """What `gpt NAME` and `python -m gpt NAME` run; its keys are those of its schema."""

    module: str  # has its function(config, command); imported when it is called, because torch takes a second
    schema: str  # the class of its configuration; without a module, one of gpt/config/command_schemas.py
    words: dict[str, str]  # the keys of its positional words, in order, each as its usage shows it; ...: takes several
    purpose: str
    function: str = "main"
    is_script: bool = True  # whether there is a NAME.py for it

    def load(self) -> "Callable[[Any, Any], Any]":
        """What the command calls, with its configuration and the `Command` that was typed."""
        return getattr(import_module(self.module), self.function)

    def load_schema(self) -> "type[BaseModel]":
        """The class that checks its configuration."""
        module, _, name = self.schema.rpartition(".")
        return getattr(import_module(module or "gpt.config.command_schemas"), name)


def _of_labels(function: str, schema: str, words: dict[str, str], purpose: str) -> CommandSpec:
    return CommandSpec("gpt.session.labels", schema, words, purpose, function, is_script=False)


_OF_TRAINING, _RUNS = {"model": "[stage]", "data.path": "[file or folder]..."}, {"runs": "[run]..."}
COMMANDS = {
    "train": CommandSpec("gpt.session.train", "gpt.config.schema.TrainConfig", _OF_TRAINING,
                     "train a stage of the ladder, or sweep over several: model=v5"),
    "generate": CommandSpec("gpt.session.generate", "GenerateConfig", {"run": "[run]", "prompt": "[prompt]"},
                        'print text from a trained run: prompt="ROMEO:"'),
    "evaluate": CommandSpec("gpt.session.evaluate", "EvaluateConfig", {"run": "[run]", "text": "[text or file]"},
                        "measure a run on held-out data or on a text"),
    "compare": CommandSpec("gpt.session.compare", "CompareConfig", _RUNS,
                       "compare runs with the documented losses and with each other"),
    "search": CommandSpec("gpt.searching.command", "StudyConfig", _OF_TRAINING, "search for hyperparameters"),
    "export": CommandSpec("gpt.exporting.command", "ExportConfig", {"run": "[run]", "format": "[format]"},
                      "export a run for other programs: format=onnx"),
    "play": CommandSpec("gpt.playground.command", "PlayConfig", _RUNS,
                    "open a page about the runs in the browser"),
    "show": CommandSpec("gpt.exporting.command", "RunConfig", {"run": "[run]"}, "say what a run is, on one screen: RUN",
                    "show", is_script=False),
    "data": CommandSpec("gpt.session.data", "DataConfig", {"data": "[corpus]", "data.path": "[file or folder]..."},
                    "show what a training would see of a file or a dataset", is_script=False),
    "runs": _of_labels("runs", "RunsConfig", _RUNS, "list the runs, the newest first: since=7d"),
    "tag": _of_labels("tag", "TagConfig", {"runs": "RUN", "tags": "TAG..."},
                     "give tags to a run, and take them: RUN golden -wide"),
    "name": _of_labels("name", "NameConfig", {"run": "RUN", "name": "NAME"}, "give a run another name: RUN best_v5"),
}  # fmt: skip
OTHER_WORDS = {
    "ls": "runs",
    "list": "runs",
    "rm": "rm -r FOLDER",
    "delete": "rm -r FOLDER",
    "zip": "tar czf RUN.tgz FOLDER",
}
