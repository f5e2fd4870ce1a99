"""The options of a decoder, as a program gives them: they have the names and ranges that they have in generate.py."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from gpt.base.errors import RequestError
from gpt.base.keys import check_values
from gpt.base.schema import GenerateConfig


def check_options(decoder: Callable[..., Any], prompt: str | None, options: Mapping[str, Any]) -> None:
    """Raise RequestError unless `prompt` and the `options` of a decoder have valid names and values."""
    taken = [name for name in inspect.signature(decoder).parameters if name in GenerateConfig.model_fields]
    if unknown := [name for name in options if name not in taken]:
        raise RequestError(f"{unknown[0]} is not an option here; there are {', '.join(sorted({*taken} - {'prompt'}))}")
    check_values(GenerateConfig, {"prompt": prompt, **options})
