"""`Settings`: frozen dataclasses for a recipe; each field declares its bounds once."""

import math
import typing
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from decoct.core.errors import DecoctError


@dataclass(frozen=True)
class Bounds:
    """The values that a number may take; never nan or infinity."""

    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def admits(self, value: float) -> bool:
        """Whether a value is within the bounds.

        >>> Bounds(above=0, at_most=1).admits(0.0), Bounds(above=0, at_most=1).admits(1.0)
        (False, True)
        """
        inside = self.at_least <= value <= self.at_most and self.above < value < self.below
        return math.isfinite(value) and inside

    def __str__(self) -> str:
        limits = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        words = [f"{name} {limit:g}" for name, limit in limits.items() if math.isfinite(limit)]
        return " and ".join(words) or "finite"


Count = Annotated[int, Bounds(at_least=1)]
CountOrNone = Annotated[int, Bounds(at_least=0)]  # 0 means none, or the default
Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(at_least=0)]
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
Momentum = Annotated[float, Bounds(at_least=0, below=1)]


@dataclass(frozen=True)
class Settings:
    """A section of a recipe; its constructor checks every field that has `Bounds` or a `Literal`.

    >>> @dataclass(frozen=True)
    ... class Walk(Settings):
    ...     section: ClassVar[str] = "walk"
    ...     steps: Count = 3
    >>> Walk(steps=0)
    Traceback (most recent call last):
    decoct.core.errors.DecoctError: walk.steps is 0; it must be at least 1
    """

    section: ClassVar[str] = ""  # its name in a recipe

    def __post_init__(self) -> None:
        for name, bounds in _bounds_of(self).items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not bounds.admits(number):
                    raise DecoctError(f"{self._path(name)} is {number:g}; it must be {bounds}")
        for name, words in _words_of(self).items():
            if (word := getattr(self, name)) not in words:
                raise DecoctError(
                    f"{self._path(name)} is {word!r}; it must be {' or '.join(map(str, words))}"
                )

    def _path(self, name: str) -> str:
        return f"{self.section}.{name}" if self.section else name


def _bounds_of(settings: Settings) -> dict[str, Bounds]:
    kind: Any = type(settings)
    return field_bounds(kind)


def _words_of(settings: Settings) -> dict[str, tuple[Any, ...]]:
    kind: Any = type(settings)
    return field_words(kind)


@cache
def field_bounds(kind: Any) -> dict[str, Bounds]:
    """The bounds of a dataclass's fields by name, for the fields that have any."""
    assert is_dataclass(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {f.name: _bounds(hints[f.name]) for f in fields(kind)}
    return {name: bounds for name, bounds in found.items() if bounds}


@cache
def field_words(kind: Any) -> dict[str, tuple[Any, ...]]:
    """The words that a dataclass's `Literal` fields allow, by field name."""
    assert is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    literal = [f.name for f in fields(kind) if typing.get_origin(hints[f.name]) is Literal]
    return {name: typing.get_args(hints[name]) for name in literal}


def _bounds(hint: Any) -> Bounds | None:
    """The bounds of a number, or of the numbers in a tuple."""
    inner = typing.get_args(hint) if typing.get_origin(hint) is tuple else (hint,)
    for part in inner:
        found = [m for m in getattr(part, "__metadata__", ()) if isinstance(m, Bounds)]
        if found:
            return found[0]
    return None
