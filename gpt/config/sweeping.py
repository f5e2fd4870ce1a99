"""Several values of a key, in Hydra's grammar: 1,2 or range(1,5) for a sweep, interval(0,1) for a search."""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser import types
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from hydra.errors import HydraException

from gpt.config.keys import choice_groups
from gpt.config.schema import SETTING_FILES
from gpt.config.values import Typed

_NULL = re.compile(r"""(?<![\w./'"-])null(?![\w./'"-])""")


def in_grammar(key: str, value: Any) -> str:
    """A setting in Hydra's grammar, in which no choice of a group that needs none is []."""
    has_none = key in (*choice_groups(several=True), *SETTING_FILES)
    return f"{key}={_NULL.sub('[]', value) if has_none else value}"


def is_swept(key: str, value: Any) -> bool:
    """Whether a value that was typed stands for several, in a sweep or a search."""
    if not isinstance(value, Typed) or not {*",("} & {*value}:
        return False
    with suppress(HydraException):
        return OverridesParser.create().parse_override(in_grammar(key, value)).is_sweep_override()
    return False


def parsed(settings: Mapping[str, Any]) -> list[types.Override]:
    """Settings in the grammar of the running Hydra, which resolves glob(), and with exact ranges.

    The decimals of Hydra's own are sums of binary fractions. Raises HydraException for what is not in the grammar.
    """
    functions = create_functions()
    functions.functions["range"] = _range
    del functions.functions["sort"]  # Hydra's yields other numbers than those of a range
    parser = OverridesParser(functions, GlobalHydra.instance().config_loader())
    return parser.parse_overrides([in_grammar(key, value) for key, value in settings.items()])


def _range(start: float, stop: float | None = None, step: float = 1) -> RangeSweep | ChoiceSweep:
    start, stop = (0, start) if stop is None else (start, stop)
    if not all(map(math.isfinite, (start, stop, step))) or not step:
        raise ValueError("a range has finite numbers, and a step other than 0")
    if all(isinstance(number, int) for number in (start, stop, step)):
        return RangeSweep(start=start, stop=stop, step=step)
    first, end, by = (Decimal(str(number)) for number in (start, stop, step))  # as typed
    count = max(0, math.ceil((end - first) / by))
    return ChoiceSweep(list=[float(first + i * by) for i in range(count)])
