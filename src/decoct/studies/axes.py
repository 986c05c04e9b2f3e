"""The axes of an ablation: what of MKDT may be varied, and the values that it takes in turn."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.run.recipe import Recipe, suggest
from decoct.training.objective import SSL_LOSSES


@dataclass(frozen=True)
class Axis:
    """One thing that is varied, while all else stays as the recipe has it."""

    what: str  # in a phrase
    values: Callable[[Recipe], Sequence[str]]  # tried unless one says otherwise
    own: Callable[[Recipe], str]  # a recipe's value
    change: Callable[[Recipe, str], Recipe]  # to another; raises `DecoctError` for what is none


@dataclass(frozen=True)
class Variant:
    """A recipe with one thing changed."""

    axis: str
    value: str
    recipe: Recipe


def plan(recipe: Recipe, axes: Sequence[str] = ()) -> list[Variant]:
    """The variants on each axis, the recipe itself among them, before any of them is made.

    `axes` are names, or names with values: `start`, `experts=1,5`; none means all. A value that
    is tried by default and does not fit the recipe is left out, and said to be. Raises
    `DecoctError` for an unknown axis, a value that was asked for and does not fit, and an axis that
    is left with the recipe's own value alone.

    >>> [(v.value, v.recipe.distill.inner_steps) for v in plan(Recipe(), ["steps"])]
    [('20', 20), ('40', 40), ('80', 80)]
    """
    asked = dict(_parse(given) for given in (axes or AXES))
    found = {name: _on_axis(recipe, name, values) for name, values in asked.items()}
    for name, variants in found.items():
        if axes and len(variants) == 1:
            own = variants[0].value
            raise DecoctError(f"axis {name}: there is nothing to compare the recipe's {own} with")
    return [v for variants in found.values() if len(variants) > 1 for v in variants]


def _parse(given: str) -> tuple[str, tuple[str, ...]]:
    """An axis and the values asked for.

    >>> _parse("experts=1,5")
    ('experts', ('1', '5'))
    """
    name, _, values = given.partition("=")
    if name not in AXES:
        raise DecoctError(f"there is no axis {name};{suggest(name, AXES)}")
    return name, tuple(value for value in values.split(",") if value)


def _on_axis(recipe: Recipe, name: str, asked: tuple[str, ...]) -> list[Variant]:
    axis = AXES[name]
    own, values = axis.own(recipe), asked or tuple(axis.values(recipe))
    recipes: dict[str, Recipe] = {}
    for value in values if own in values else (own, *values):
        if value == own:
            recipes[own] = recipe
            continue
        try:
            changed = axis.change(recipe, value)
        except DecoctError as error:
            if asked:
                raise DecoctError(f"axis {name}, value {value}: {error}") from error
            note(f"axis {name}: {value} is left out: {error}")
        else:
            recipes[axis.own(changed)] = changed
    return [Variant(name, value, recipes[value]) for value in sorted(recipes, key=_rank)]


def _rank(value: str) -> float:
    """Numbers stand in their order, and words before them as they came."""
    try:
        return float(value.removesuffix("%"))
    except ValueError:
        return float("-inf")


def _set(recipe: Recipe, setting: str, value: Any) -> Recipe:
    """The recipe with one setting changed.

    >>> _set(Recipe(), "distill.batch", 3).distill.batch
    3
    """
    section, _, name = setting.partition(".")
    return replace(recipe, **{section: replace(getattr(recipe, section), **{name: value})})


def _get(recipe: Recipe, setting: str) -> Any:
    section, _, name = setting.partition(".")
    return getattr(getattr(recipe, section), name)


def _counted(setting: str, what: str, values: Callable[[Recipe], Sequence[int]]) -> Axis:
    """A whole number."""

    def change(recipe: Recipe, value: str) -> Recipe:
        if not value.isdecimal():
            raise DecoctError("a whole number is needed")
        return _set(recipe, setting, int(value))

    return Axis(
        what=what,
        values=lambda recipe: [str(value) for value in values(recipe)],
        own=lambda recipe: str(_get(recipe, setting)),
        change=change,
    )


def _learnt(setting: str, what: str) -> Axis:
    """Something that is learnt at a rate; at none it stays what it was."""

    def change(recipe: Recipe, value: str) -> Recipe:
        _check_choice(value, ("learnt", "fixed"))
        if value == "learnt":  # and is not
            raise DecoctError(f"the recipe's {setting} is 0; set it to the rate to learn at")
        return _set(recipe, setting, 0.0)

    return Axis(
        what=what,
        values=lambda _: ("learnt", "fixed"),
        own=lambda recipe: "learnt" if _get(recipe, setting) else "fixed",
        change=change,
    )


def _change_start(recipe: Recipe, value: str) -> Recipe:
    _check_choice(value, ("random", "high-loss"))
    return _set(recipe, "distill.start", value)


def _own_teacher(recipe: Recipe) -> str:
    if recipe.targets.source:
        return Path(recipe.targets.source).name
    return recipe.teacher.ssl.algorithm if recipe.teacher.train else recipe.teacher.source


def _change_teacher(recipe: Recipe, value: str) -> Recipe:
    _check_choice(value, SSL_LOSSES)
    algorithm: Any = value
    ssl = replace(recipe.teacher.ssl, algorithm=algorithm)
    teacher = replace(recipe.teacher, train=True, ssl=ssl)
    return _set(replace(recipe, teacher=teacher), "targets.source", "")


def _own_size(recipe: Recipe) -> str:
    return f"{recipe.size} images" if recipe.size else f"{100 * recipe.fraction:g}%"


def _change_size(recipe: Recipe, value: str) -> Recipe:
    try:
        per_cent = float(value.removesuffix("%"))
    except ValueError as error:
        raise DecoctError("a share of the pool is needed, such as 5%") from error
    return replace(recipe, size=0, fraction=per_cent / 100)


def _check_choice(value: str, known: Collection[str]) -> None:
    if value not in known:
        raise DecoctError(f"it is none of the values;{suggest(value, known)}")


AXES: dict[str, Axis] = {
    "start": Axis(
        what="the real images that distilling starts from",
        values=lambda _: ("random", "high-loss"),
        own=lambda recipe: recipe.distill.start,
        change=_change_start,
    ),
    "targets": _learnt("distill.lr_targets", "whether the targets are learnt too"),
    "rate": _learnt("distill.lr_log_rate", "whether the inner learning rate is learnt too"),
    "experts": _counted(
        "experts.count", "how many experts there are to match", lambda _: (1, 3, 8, 20)
    ),
    "max-start": _counted(
        "distill.max_start",
        "how many of an expert's epochs matching may start from",
        lambda _: (1, 2, 4),
    ),
    "expert-epochs": _counted(
        "distill.expert_epochs",
        "how many of an expert's epochs are matched at once",
        lambda _: (1, 2, 3),
    ),
    "steps": _counted(
        "distill.inner_steps",
        "steps of the inner loop",
        lambda recipe: [max(1, recipe.distill.inner_steps * k // 2) for k in (1, 2, 4)],
    ),
    "teacher": Axis(
        what="whose representations are distilled: the recipe's, or those of one trained here",
        values=lambda _: ("barlow_twins", "simclr", "vicreg"),
        own=_own_teacher,
        change=_change_teacher,
    ),
    "size": Axis(
        what="the size of the set, as a share of the pool",
        values=lambda _: ("1%", "2%", "5%", "10%"),
        own=_own_size,
        change=_change_size,
    ),
}
