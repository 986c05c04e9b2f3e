"""`Settings`: frozen dataclasses for a recipe; each field declares once what it takes."""

import math
import reprlib
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from decoct.core.errors import DecoctError

MOST = 2**31 - 1  # that any whole number may be: beyond, libraries overflow
_LONGEST = 4096  # characters of a text, as of a path on Linux
_MOST_ENTRIES = 1000  # of a list
OF_SPEED = {"of speed": True}  # metadata of a field on which no result depends: nor does a digest
T = TypeVar("T")


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
        return inside and abs(value) <= sys.float_info.max  # which some whole numbers exceed

    def limit(self, value: float) -> str:
        """What a value that they do not admit must be.

        >>> Bounds(at_least=1, at_most=MOST).limit(2**31)
        'at most 2,147,483,647'
        """
        if value > self.at_most == MOST:
            return f"at most {MOST:,}"
        endless = value > sys.float_info.max and self.at_most == self.below
        return f"{self}{' and below 1e308' * endless}"

    def __str__(self) -> str:
        limits = {
            "at least": self.at_least,
            "above": self.above,
            "at most": math.inf if self.at_most == MOST else self.at_most,  # goes without saying
            "below": self.below,
        }
        words = [f"{name} {limit:,}" for name, limit in limits.items() if math.isfinite(limit)]
        return " and ".join(words) or "finite"


@dataclass(frozen=True)
class Entries:
    """How many entries a list, or characters a text, has at least."""

    at_least: int = 0


Count = Annotated[int, Bounds(at_least=1, at_most=MOST)]
CountOrNone = Annotated[int, Bounds(at_least=0, at_most=MOST)]  # 0 means none, or the default
Few = Annotated[int, Bounds(at_least=1, at_most=1000)]  # of what is listed before any work
Jobs = Annotated[int, Bounds(at_least=1, at_most=256)]  # processes
Seed = Annotated[int, Bounds(at_least=0, at_most=2**63 - 1)]  # of all random numbers
Pixels = Annotated[int, Bounds(at_least=1, at_most=4096)]
Width = Annotated[int, Bounds(at_least=1, at_most=65_536)]  # of a layer
WidthOrNone = Annotated[int, Bounds(at_least=0, at_most=65_536)]  # 0: the default
Batch = Annotated[int, Bounds(at_least=2, at_most=MOST)]  # of what is compared with each other
Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(at_least=0)]
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
Momentum = Annotated[float, Bounds(at_least=0, below=1)]
Word = Annotated[str, Entries(at_least=1)]  # not empty
Some = Annotated[tuple[T, ...], Entries(at_least=1)]  # likewise


def of_results(settings: Any) -> list[str]:
    """The names of a dataclass's fields on which results depend."""
    return [f.name for f in fields(settings) if f.metadata != OF_SPEED]


@dataclass(frozen=True)
class Settings:
    """A section of a recipe; its constructor checks every field against its type and bounds.

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
        kind: Any = type(self)
        defaults = _defaults(kind)  # which a test checks, so that not every object does
        for name, hint in hints(kind).items():
            if (value := getattr(self, name)) is not defaults[name]:
                check(f"{self.section}.{name}".strip("."), hint, value)


def check(name: str, hint: Any, value: Any) -> None:
    """Raise `DecoctError` for a value that its type, with its bounds, does not admit."""
    for entry, found, wanted in _wrong(hint, value):
        path = f"{name}.{entry}".strip(".")
        raise DecoctError(f"{path} is {shown(found)}; it must be {wanted}")


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    """The fields' defaults by name; those that are made anew for each object are equal to none."""
    return {f.name: f.default for f in fields(kind)}


@cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields by name, with their bounds."""
    assert is_dataclass(kind)
    found = typing.get_type_hints(kind, include_extras=True)
    return {f.name: found[f.name] for f in fields(kind)}


def in_words(hint: Any) -> str:
    """What a field of a type takes.

    >>> in_words(Count), in_words(bool)
    ('a whole number, at least 1', 'true or false')
    """
    kind, bounds, entries = _parts(hint)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin is tuple:
        return f"a list{', not empty' * bool(entries)}; each {in_words(inner[0])}"
    if origin is dict:
        return f"by name, each {in_words(inner[1])}"
    named = f"{_NAMES.get(kind, 'a section')}{', not empty' * bool(entries)}"
    return f"{named}, {bounds}" if bounds else named


_ADMITTED: dict[Any, Any] = {float: (int, float)}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _wrong(hint: Any, value: Any) -> Iterator[tuple[str, Any, str]]:
    """What its type does not admit of a value: the name within it, if any; it; what it must be."""
    kind, bounds, entries = _parts(hint)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if not any(type(value) is type(word) and value == word for word in inner):
            yield "", value, in_words(hint)
    elif origin is tuple and isinstance(value, tuple | list):
        if not entries <= len(value) <= _MOST_ENTRIES:
            limit = f"at most {_MOST_ENTRIES:,}" if value else f"at least {entries}"
            yield "", value, f"a list of {limit}"
        yield from (found for item in value for found in _wrong(inner[0], item))
        yield from (("", item, "there only once") for item in value if value.count(item) > 1)
    elif origin is dict and isinstance(value, dict):
        yield from (found for name in value for found in _wrong(Word, name))
        yield from ((str(k), v, why) for k in value for _, v, why in _wrong(inner[1], value[k]))
    elif not _is_a(kind, origin, value):
        yield "", value, in_words(hint)
    elif bounds and not bounds.admits(value):
        yield "", value, bounds.limit(value)
    elif kind is str and (why := _unfit(value, entries)):
        yield "", value, why


def _is_a(kind: Any, origin: Any, value: Any) -> bool:
    if isinstance(value, bool):  # which Python takes for a whole number
        return kind is bool
    wanted = origin if origin in (tuple, dict) else kind
    return not isinstance(wanted, type) or isinstance(value, _ADMITTED.get(wanted, wanted))


def _unfit(text: str, at_least: int) -> str:
    """What a text must be; "" if it is fit for a file's name and for a recipe."""
    if len(text.strip()) < at_least:
        return "text, not empty"
    if len(text) > _LONGEST:
        return f"at most {_LONGEST:,} characters long"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "in UTF-8"
    return "free of NUL characters" if "\0" in text else ""


@cache
def _parts(hint: Any) -> tuple[Any, Bounds | None, int]:
    """A type without its annotations, its bounds, and how many entries it has at least."""
    if typing.get_origin(hint) is not Annotated:
        return hint, None, 0
    kind, *more = typing.get_args(hint)
    bounds = next((m for m in more if isinstance(m, Bounds)), None)
    return kind, bounds, next((m.at_least for m in more if isinstance(m, Entries)), 0)


def shown(value: Any) -> str:
    """A value, short enough for a sentence.

    >>> shown(-1), shown(0.5), shown(10**400), shown("a" * 99)
    ('-1', '0.5', 'about 1e400', "'aaaaaaaaaaaa...aaaaaaaaaaaaa'")
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return " ".join(reprlib.repr(value).split())
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return f"about {'-' * (value < 0)}1e{math.floor(math.log10(abs(value)))}"
    return f"{value:,}" if isinstance(value, int) and abs(value) < 10**12 else f"{value:g}"
