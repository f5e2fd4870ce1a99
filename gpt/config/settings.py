"""The settings of the commands that compose nothing: their keys, defaults and meanings are those of a schema."""

from typing import Any

from pydantic import BaseModel

from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.config.command import Command
from gpt.config.composing import content_of
from gpt.config.explaining import unknown_key
from gpt.config.fields import fields_of, kind_of_field, nested
from gpt.config.values import Typed, read, unquoted
from gpt.registry import is_user_code, load_user_code


def settings_of(command: Command) -> Any:
    """The checked settings of a command other than train.py; of search.py, without those of its trainings.

    Raises RequestError for an unknown key, and pydantic.ValidationError for a wrong value.
    """
    schema = COMMANDS[command.name].load_schema()
    if command.name == "data":
        return schema.model_validate({"data": content_of(command)["data"]})
    return schema.model_validate(nested(_objects(command, schema)))


def _objects(command: Command, schema: type[BaseModel]) -> dict[str, Any]:
    """The values, each read by the type of its key."""
    fields, found = fields_of(schema), {}
    for key, value in command.settings.items():
        if key in fields:
            typed = _stage_of_code(value) if key == "stage" else value
            found[key] = read(typed, kind_of_field(fields[key])) if isinstance(typed, Typed) else typed
        elif "model" not in COMMANDS[command.name].words:
            raise RequestError(unknown_key(key, value, fields, {}))
    return found


def _stage_of_code(typed: Any) -> Any:
    """model=FILE.py, whose code a run needs, selects the runs of this code."""
    name = unquoted(typed) if isinstance(typed, Typed) else typed
    return Typed(load_user_code("model", name)) if is_user_code("model", name) else typed
