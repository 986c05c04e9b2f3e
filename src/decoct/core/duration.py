"""Durations in words."""

import re

from decoct.core.errors import DecoctError

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """A duration in seconds from words like `30min`; raises `DecoctError` for others.

    >>> seconds_of("30min"), seconds_of("1.5 h")
    (1800.0, 5400.0)
    """
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d+)?|\.\d+)\s*(s|min|h|d)\s*", text, re.IGNORECASE)
    if found is None or not float(found[1]):
        raise DecoctError(f"{text!r} is no duration; write 90s, 30min or 2h, say")
    return float(found[1]) * _UNITS[found[2].lower()]
