"""The variants of an ablation, along the axes that a method declares and along common ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.spelling import suggest
from decoct.methods.axis import Axis, one_of
from decoct.run.recipe import Recipe
from decoct.training.objective import SSL_LOSSES

_LEARNT = ("learnt", "fixed")
TEACHER = Axis(
    "teacher",
    "the teacher whose representations are distilled: the recipe's, or one trained on the pool",
    "teacher.ssl.algorithm",
    one_of("barlow_twins", "simclr", "vicreg"),
)
SIZE = Axis(
    "size",
    "the size of the set, as a share of the pool",
    "fraction",
    one_of("1%", "2%", "5%", "10%"),
)
CODING = Axis(
    "coding",
    "the code in which the set keeps its targets",
    "coding.targets",
    one_of("as made", "float16", "int8", "pca", "pq"),
)


@dataclass(frozen=True)
class Variant:
    """A recipe with one thing changed."""

    axis: str
    value: str
    recipe: Recipe


def axes_of(recipe: Recipe) -> dict[str, Axis]:
    """The axes along which the recipe's method may be varied, by name."""
    common = (TEACHER, SIZE, CODING)
    return {axis.name: axis for axis in (*recipe.configured(recipe.method).axes(), *common)}


def plan(recipe: Recipe, axes: Sequence[str] = ()) -> list[Variant]:
    """The variants on each axis, including the recipe itself; nothing is run yet.

    `axes` are names, or names with values: `init`, `experts=1,5`; none means all. A default value
    that does not fit the recipe is skipped with a note. Raises `DecoctError` for an unknown axis, a
    requested value that does not fit, and an axis on which only the recipe's own value remains.

    >>> [(v.value, v.recipe.matching.inner_steps) for v in plan(Recipe(method="mkdt"), ["steps"])]
    [('20', 20), ('40', 40), ('80', 80)]
    """
    known = axes_of(recipe)
    asked = dict(_parse(given, known) for given in (axes or known))
    found = {name: _on_axis(recipe, known[name], values) for name, values in asked.items()}
    for name, variants in found.items():
        if axes and len(variants) == 1:
            own = variants[0].value
            raise DecoctError(f"axis {name}: there is nothing to compare the recipe's {own} with")
    return [v for variants in found.values() if len(variants) > 1 for v in variants]


def _parse(given: str, known: dict[str, Axis]) -> tuple[str, tuple[str, ...]]:
    """An axis and the requested values: `experts=1,5`."""
    name, _, values = given.partition("=")
    if name not in known:
        raise DecoctError(f"there is no axis {name};{suggest(name, known)}")
    return name, tuple(value for value in values.split(",") if value)


def _on_axis(recipe: Recipe, axis: Axis, asked: tuple[str, ...]) -> list[Variant]:
    own = own_value(recipe, axis)
    values = asked or tuple(map(str, axis.values(_setting(recipe, axis))))
    recipes: dict[str, Recipe] = {}
    for value in values if own in values else (own, *values):
        if value == own:
            recipes[own] = recipe
            continue
        try:
            changed = _changed(recipe, axis, value)
        except DecoctError as error:
            if asked:
                raise DecoctError(f"axis {axis.name}, value {value}: {error}") from error
            note(f"axis {axis.name}: {value} is skipped: {error}")
        else:
            recipes[own_value(changed, axis)] = changed
    return [Variant(axis.name, value, recipes[value]) for value in sorted(recipes, key=_rank)]


def _rank(value: str) -> float:
    """Sorts numbers by value, after words, which keep their order."""
    try:
        return float(value.removesuffix("%"))
    except ValueError:
        return float("-inf")


def own_value(recipe: Recipe, axis: Axis) -> str:
    """A recipe's value on an axis, as text."""
    if axis is SIZE:
        return f"{recipe.size} images" if recipe.size else f"{100 * recipe.fraction:g}%"
    if axis is TEACHER and recipe.targets.source:
        return Path(recipe.targets.source).name
    if axis is TEACHER and not recipe.teacher.train:
        return recipe.teacher.source
    if axis.learnt:
        return _LEARNT[0] if _setting(recipe, axis) else _LEARNT[1]
    return str(_setting(recipe, axis))


def _setting(recipe: Recipe, axis: Axis) -> Any:
    return recipe.get(axis.setting)


def _changed(recipe: Recipe, axis: Axis, value: str) -> Recipe:
    """The recipe with another value; raises `DecoctError` for an invalid one."""
    if axis is SIZE:
        return recipe.having(size=0, fraction=_share(value))
    if axis is TEACHER:
        _check_choice(value, tuple(SSL_LOSSES))
        with_teacher = recipe.set("teacher.train", True).set("targets.source", "")
        return with_teacher.set(axis.setting, value)
    if axis.learnt:
        _check_choice(value, _LEARNT)
        if value == _LEARNT[0]:  # but it is not learnt
            raise DecoctError(f"the recipe's {axis.setting} is 0; set it to the rate to learn at")
        return recipe.set(axis.setting, 0.0)
    return recipe.set(axis.setting, _as_type_of(_setting(recipe, axis), value))


def _share(value: str) -> float:
    try:
        return float(value.removesuffix("%")) / 100
    except ValueError as error:
        raise DecoctError("the value must be a share of the pool, such as 5%") from error


def _as_type_of(own: Any, value: str) -> Any:
    try:
        return msgspec.convert(value, type(own), strict=False)
    except msgspec.ValidationError as error:
        kind = "whole number" if isinstance(own, int) else "number"
        raise DecoctError(f"the value must be a {kind}") from error


def _check_choice(value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DecoctError(f"this is not a possible value;{suggest(value, known)}")
