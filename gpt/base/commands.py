"""The commands: the one table that scripts, console commands, words without a key, schemas, tests and docs follow."""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # `python -m gpt` and the first moments of a script do without pydantic
    from pydantic import BaseModel


class Command(NamedTuple):
    """What NAME.py and gpt-NAME run; its keys and their values are in conf/NAME.yaml."""

    module: str  # has its main(config, request) and, if a sweep ends with a report, after_sweep(folder)
    schema: str  # the class of its configuration
    words: tuple[str, ...]  # keys that a word without a key may stand for, as in `train.py v5`; the first that fits
    purpose: str

    def load_schema(self) -> "type[BaseModel]":
        """The class that checks its configuration."""
        module, _, name = self.schema.rpartition(".")
        return getattr(import_module(module), name)


COMMANDS = {
    "train": Command("gpt.session.train", "gpt.base.schema.TrainConfig", ("model",),
                     "train a stage of the ladder, or sweep over several: model=v5"),
    "generate": Command("gpt.session.generate", "gpt.base.command_schemas.GenerateConfig", ("model", "run", "prompt"),
                        'print text from a trained run: prompt="ROMEO:"'),
    "evaluate": Command("gpt.session.evaluate", "gpt.base.command_schemas.EvaluateConfig", ("model", "run", "text"),
                        "measure a run on held-out data or on a text"),
    "compare": Command("gpt.session.compare", "gpt.base.command_schemas.CompareConfig", ("model", "runs"),
                       "compare runs with the documented losses and with each other"),
    "search": Command("gpt.searching.command", "gpt.base.command_schemas.StudyConfig", ("model",),
                      "search for hyperparameters"),
    "export": Command("gpt.exporting.command", "gpt.base.command_schemas.ExportConfig", ("model", "run", "format"),
                      "export a run for other programs: format=onnx"),
    "play": Command("gpt.playground.command", "gpt.base.command_schemas.PlayConfig", ("model", "run", "runs"),
                    "open a page about the runs in the browser"),
}  # fmt: skip
