"""Settings out of bounds are refused when they are made, by a sentence that names their path."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoct.core.errors import DecoctError
from decoct.core.settings import (
    Bounds,
    Count,
    CountOrNone,
    Momentum,
    NonNegative,
    Positive,
    Settings,
    Share,
    Some,
)
from decoct.models.registry import NetworkConfig
from decoct.run.recipe import ImagesConfig, load_recipe
from decoct.training.teacher import SSLConfig

NOT_FINITE = (math.nan, math.inf, -math.inf)


@dataclass(frozen=True)
class Bare(Settings):
    steps: Count = 1


@dataclass(frozen=True)
class Walk(Settings):
    section: ClassVar[str] = "walk"

    steps: Count = 3
    rests: CountOrNone = 0
    pace: Positive = 1.0
    climb: NonNegative = 0.0
    shade: Share = 0.5
    inertia: Momentum = 0.9
    slope: Annotated[float, Bounds()] = 0.0
    angle: Annotated[float, Bounds(above=-90, at_most=90)] = 0.0
    legs: tuple[Count, ...] = (1, 2)
    mood: Literal["calm", "brisk"] = "calm"
    alone: bool = True
    name: str = ""
    stops: Some[str] = ("inn",)
    loads: dict[str, NonNegative] = field(default_factory=dict)
    start: Bare = field(default_factory=Bare)


@pytest.mark.parametrize(
    "name, good, bad, bounds",
    [
        ("steps", (1, 10**9), (0, -1), "at least 1"),
        ("rests", (0, 1), (-1,), "at least 0"),
        ("pace", (1e-300, 1e300), (0.0, -0.0, -1e-300), "above 0"),
        ("climb", (0.0, 1e300), (-1e-300,), "at least 0"),
        ("shade", (0.0, 1.0), (-0.001, 1.001), "at least 0 and at most 1"),
        ("inertia", (0.0, math.nextafter(1, 0)), (-0.1, 1.0, 2.0), "at least 0 and below 1"),
        ("slope", (-1e300, 1e300), (), "finite"),
        ("angle", (math.nextafter(-90, 0), 90.0), (-90.0, 91.0), "above -90 and at most 90"),
    ],
)
def test_what_is_below_or_above_is_refused_and_the_limits_are_as_they_say(
    name: str, good: tuple[Any, ...], bad: tuple[Any, ...], bounds: str
) -> None:
    for value in good:
        assert getattr(Walk(**{name: value}), name) == value
    for value in (*bad, *NOT_FINITE):
        with pytest.raises(DecoctError) as error:
            Walk(**{name: value})
        said = str(error.value)
        assert said.startswith(f"walk.{name} is {value:g}; it must be ") and bounds in said


@pytest.mark.parametrize("wrong", [0, -1, *NOT_FINITE])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_number_of_a_tuple_is_checked(wrong: float, place: int) -> None:
    legs: list[Any] = [1, 2, 5]
    assert Walk(legs=tuple(legs)).legs == (1, 2, 5) and Walk(legs=()).legs == ()
    legs[place] = wrong
    with pytest.raises(DecoctError) as error:
        Walk(legs=tuple(legs))
    assert str(error.value).startswith(f"walk.legs is {wrong:g}; it must be ")
    assert str(error.value).endswith("at least 1")


def test_a_word_that_is_none_of_those_there_are_is_refused() -> None:
    assert Walk(mood="brisk").mood == "brisk"
    with pytest.raises(DecoctError, match=r"^walk\.mood is 'slow'; it must be calm or brisk$"):
        Walk(mood="slow")  # type: ignore[arg-type]


def test_a_changed_copy_is_checked_as_well() -> None:
    with pytest.raises(DecoctError, match=r"walk\.pace is nan"):
        replace(Walk(), pace=math.nan)


def test_without_a_section_the_field_alone_is_named() -> None:
    with pytest.raises(DecoctError, match=r"^steps is 0; it must be at least 1$"):
        Bare(steps=0)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": True}, "walk.steps is True; it must be a whole number, at least 1"),
        ({"steps": 1.0}, "walk.steps is 1; it must be a whole number, at least 1"),
        ({"steps": "1e3"}, "walk.steps is '1e3'; it must be a whole number, at least 1"),
        ({"steps": None}, "walk.steps is None; it must be a whole number, at least 1"),
        ({"steps": np.int64(3)}, "walk.steps is np.int64(3); it must be a whole number"),
        ({"steps": 2**31}, "walk.steps is 2,147,483,648; it must be at most 2,147,483,647"),
        ({"steps": 10**400}, "walk.steps is about 1e400; it must be at most 2,147,483,647"),
        ({"pace": 10**400}, "walk.pace is about 1e400; it must be above 0 and below 1e308"),
        ({"pace": "fast"}, "walk.pace is 'fast'; it must be a number, above 0"),
        ({"pace": [1.0]}, "walk.pace is [1.0]; it must be a number, above 0"),
        ({"legs": 3}, "walk.legs is 3; it must be a list; each a whole number, at least 1"),
        ({"legs": (1, "2")}, "walk.legs is '2'; it must be a whole number, at least 1"),
        ({"legs": (1, 2, 1)}, "walk.legs is 1; it must be there only once"),
        ({"legs": tuple(range(1, 2000))}, "it must be a list of at most 1,000"),
        ({"stops": ()}, "walk.stops is (); it must be a list of at least 1"),
        ({"mood": 1}, "walk.mood is 1; it must be calm or brisk"),
        ({"alone": 1}, "walk.alone is 1; it must be true or false"),
        ({"name": 7}, "walk.name is 7; it must be text"),
        ({"name": "a\0b"}, "it must be free of NUL characters"),
        (
            {"name": "a" * 5000},
            "...aaaaaaaaaaaaa'; it must be at most 4,096 characters",
        ),
        ({"name": "caf\udce9"}, "it must be in UTF-8"),
        ({"loads": {"bag": -1.0}}, "walk.loads.bag is -1; it must be at least 0"),
        ({"loads": 3}, "walk.loads is 3; it must be by name, each a number, at least 0"),
        ({"start": 3}, "walk.start is 3; it must be a section"),
    ],
)
def test_what_is_of_another_type_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DecoctError) as error:
        Walk(**changes)
    assert message in str(error.value)


def test_a_whole_number_is_a_number_and_a_list_may_be_either_of_pythons() -> None:
    legs: Any = [2, 1]
    assert Walk(pace=2).pace == 2 and Walk(legs=legs).legs == [2, 1]


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(value=numbers, low=numbers, high=numbers, closed=st.booleans())
def test_bounds_admit_the_finite_numbers_between_them(
    value: float, low: float, high: float, closed: bool
) -> None:
    if math.isnan(low) or math.isnan(high):
        return
    bounds = Bounds(at_least=low, at_most=high) if closed else Bounds(above=low, below=high)
    inside = low <= value <= high if closed else low < value < high
    assert bounds.admits(value) == (inside and math.isfinite(value))


# In a recipe


@pytest.mark.parametrize(
    "text, message",
    [
        ("matching: {batch: 0}", r"matching\.batch is 0; it must be at least 1"),
        ("images: {holdout: 1.0}", r"images\.holdout is 1; it must be at least 0 and below 1"),
        ("rule: {momentum: .nan}", r"rule\.momentum is nan; it must be at least 0 and below 1"),
        ("pretrain: {lr_factor: .inf}", r"pretrain\.lr_factor is inf; it must be above 0"),
        ("probe: {fractions: [0.1, 1.5]}", r"probe\.fractions is 1\.5; it must be above 0 and"),
        ("teacher: {ssl: {batch: 1}}", r"teacher\.ssl\.batch is 1; it must be at least 2"),
        ("krr_st: {lifetime: 1}", r"krr_st\.lifetime is 1; it must be at least 2"),
        ("mtt_ssl: {lr: -1}", r"mtt_ssl\.lr is -1; it must be above 0"),
        ("fraction: 0", r"fraction is 0; it must be above 0 and at most 1"),
        ("size: -3", r"size is -3; it must be at least 0"),
    ],
)
def test_a_recipe_says_which_setting_is_out_of_bounds(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DecoctError, match=message):
        load_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        (ImagesConfig, {"channels": 4}, r"images\.channels is 4; it must be 1 or 3"),
        (SSLConfig, {"warm_up": -1}, r"teacher\.ssl\.warm_up is -1; it must be at least 0"),
        (NetworkConfig, {"depth": 0}, r"network\.depth is 0; it must be at least 1"),
    ],
)
def test_a_section_made_in_python_says_the_same(
    kind: type[Settings], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DecoctError, match=message):
        kind(**changes)
