"""Durations as people say and type them."""

import re

_UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def format_duration(seconds: float) -> str:
    """A duration in one or two units: 40 s, 5 min, 2 h 40 min, 3 d 4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def seconds_of(text: str) -> float:
    """The seconds of a duration such as 30s, 5 min, 2h or 7d. Raises ValueError for 0 and for any other text."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|m|h|d|w)", text)
    if found is None or float(found[1]) == 0:
        raise ValueError("must be a duration, as in 30s or 5min")
    return float(found[1]) * _UNITS[found[2]]
