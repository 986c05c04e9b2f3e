"""Facts as aligned lines of text."""

from collections.abc import Mapping
from typing import Any


def lines(title: str, facts: Mapping[str, object]) -> str:
    """A title and aligned facts, without the empty ones.

    >>> print(lines("thing", {"a": 1, "none": "", "long": 2}))
    thing
      a     1
      long  2
    """
    kept = {name: str(value) for name, value in facts.items() if str(value)}
    width = max(map(len, kept), default=0)
    return "\n".join([title, *(f"  {name.ljust(width)}  {value}" for name, value in kept.items())])


def course(values: Any) -> str:
    """The first and last value of a series."""
    values = list(values)
    if not values:
        return ""
    return f"{float(values[0]):.4g} at first, {float(values[-1]):.4g} at the end"
