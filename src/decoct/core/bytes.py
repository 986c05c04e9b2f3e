"""Numbers of bytes in words."""

import re

from decoct.core.errors import DecoctError

_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9}


def bytes_of(text: str) -> int:
    """A number of bytes from words like `1.5MB`; raises `DecoctError` for others.

    >>> bytes_of("0.25 MB"), bytes_of("300kB")
    (250000, 300000)
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d+)?|\.\d+)\s*([kmg]?b)?\s*", text, re.IGNORECASE)
    if found is None or (count := round(float(found[1]) * _UNITS[(found[2] or "").lower()])) < 1:
        raise DecoctError(f"{text!r} is no number of bytes; write 1MB or 300kB, say")
    return count
