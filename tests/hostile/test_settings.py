"""Every field of every section refuses nonsense, by what is declared on it."""

import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest

import decoct.verbs  # noqa: F401 - all that a command can be given is defined now
from benchmarks.bad_input import every_section, in_python, in_yaml, names_of, sense
from decoct.core.settings import Bounds, Count, Settings, check, hints

TOGETHER = {("diagnose", "points"), ("diagnose", "epochs")}  # no point lies beyond the epochs


def test_in_python() -> None:
    """Where the suite's own type checker is first, it is not our sentence that is read."""
    tried = list(in_python(every=6))
    assert len(tried) > 900
    wrong = [(path, value, why) for path, value, why in tried if why]
    assert [found for found in wrong if not found[2].startswith("gives TypeCheckError")] == []


def test_in_yaml(tmp_path: Path) -> None:
    tried = list(in_yaml(tmp_path, every=50))
    assert len(tried) > 80
    assert [(path, value, why) for path, value, why in tried if why] == []


@pytest.mark.parametrize("path", every_section())
def test_the_outermost_values_are_taken(path: str) -> None:
    settings = every_section()[path]
    for name in names_of(settings):
        hint = hints(type(settings))[name]
        kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        a_list = typing.get_origin(kind) is tuple
        for value in sense(typing.get_args(kind)[0] if a_list else hint):
            wanted = (value,) if a_list else value
            if (path, name) not in TOGETHER:
                assert getattr(replace(settings, **{name: wanted}), name) == wanted


# What somebody adds must be declared as well


def kinds_of(parent: type[Settings]) -> Iterator[type[Settings]]:
    for kind in parent.__subclasses__():
        if kind.__module__.startswith("decoct."):
            yield kind
        yield from kinds_of(kind)


def undeclared(hint: Any) -> bool:
    """Whether a type holds a number without bounds, or one that nobody checks."""
    bounded = any(isinstance(m, Bounds) for m in getattr(hint, "__metadata__", ()))
    kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if typing.get_origin(kind) in (tuple, dict):
        return any(undeclared(inner) for inner in typing.get_args(kind) if inner is not ...)
    if kind in (int, float):
        return not bounded
    is_class = isinstance(kind, type) and issubclass(kind, Settings)
    return not (is_class or kind in (str, bool) or typing.get_origin(kind) is Literal)


@pytest.mark.parametrize("kind", dict.fromkeys(kinds_of(Settings)))
def test_every_field_declares_what_it_takes(kind: type[Settings]) -> None:
    assert [name for name, hint in hints(kind).items() if undeclared(hint)] == []


@pytest.mark.parametrize("kind", dict.fromkeys(kinds_of(Settings)))
def test_every_default_is_one_that_the_field_takes(kind: type[Settings]) -> None:
    for field in fields(kind):
        if field.default is not MISSING:
            check(field.name, hints(kind)[field.name], field.default)


def test_a_field_without_bounds_is_noticed() -> None:
    @dataclass(frozen=True)
    class Careless(Settings):
        steps: int = 1
        rates: tuple[float, ...] = ()
        good: Count = 1
        what: Any = None

    assert [n for n, h in hints(Careless).items() if undeclared(h)] == ["steps", "rates", "what"]


def test_every_section_is_tried() -> None:
    tried = {type(settings) for settings in every_section().values()}
    own = {kind for kind in kinds_of(Settings) if kind.section}
    assert own <= tried
