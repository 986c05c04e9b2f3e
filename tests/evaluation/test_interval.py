"""Intervals by hand: of seeds without draws, of ratios, and what they say about a difference."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoct.evaluation.interval import Interval, is_sure, mark


def test_interval_of_two_values_by_hand() -> None:
    # Values 1 apart: standard error 0.5, and t(0.975, 1) = tan(0.475 pi) = 12.706.
    assert Interval.of([1.0, 2.0]).half_width == pytest.approx(0.5 * math.tan(0.475 * math.pi))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(-50, 50))
def test_interval_shifts_with_its_values(values: list[float], by: float) -> None:
    plain, shifted = Interval.of(values), Interval.of([v + by for v in values])
    assert shifted.mean == pytest.approx(plain.mean + by, abs=1e-9)
    assert shifted.half_width == pytest.approx(plain.half_width, abs=1e-9)


def test_one_value_has_no_interval_and_excludes_nothing() -> None:
    interval = Interval.of([5.0])
    assert interval.mean == 5
    assert math.isnan(interval.half_width)
    assert not interval.excludes_zero
    assert interval.one_seed
    assert str(interval) == "5.0"


def test_excludes_zero() -> None:
    assert Interval(2.0, 1.9).excludes_zero
    assert Interval(-2.0, 1.9).excludes_zero
    assert not Interval(2.0, 2.1).excludes_zero
    assert str(Interval(2.0, 1.94)) == "2.0 ± 1.9"


@pytest.mark.parametrize(
    "over, how_sure",
    [
        (Interval(2.0, 1.9), "above"),
        (Interval(-2.0, 1.9), "below"),
        (Interval(2.0, 2.0), "within noise"),
        (Interval(2.0, 0.1, one_seed=True), "one seed"),
        (Interval(2.0, math.nan), "one seed"),
    ],
)
def test_marks(over: Interval, how_sure: str) -> None:
    assert mark(over) == how_sure
    assert is_sure(over) == (how_sure in ("above", "below"))


# Ratios


def ratio(parts: list[float], wholes: list[float]) -> Interval:
    """Of series with one value a seed."""
    by_unit = ({(i, "a", 0): v for i, v in enumerate(values)} for values in (parts, wholes))
    return Interval.of_ratio(*by_unit)


def test_the_interval_of_a_ratio_by_hand() -> None:
    # 1/4 and 3/4 of 4: the ratio is 1/2, what is left -1 and 1, of standard error 1.
    found = ratio([1.0, 3.0], [4.0, 4.0])
    assert found.mean == 0.5
    assert found.half_width == pytest.approx(math.tan(0.475 * math.pi) / 4)  # t(0.975, 1) / 4
    assert math.isnan(ratio([1.0], [4.0]).half_width)


@pytest.mark.parametrize("wholes", [[2.0, 4.0, 7.0], [2.0, -1.0, 5.0]])
def test_pairs_in_proportion_have_a_certain_ratio(wholes: list[float]) -> None:
    found = ratio([0.3 * whole for whole in wholes], wholes)
    assert (found.mean, found.half_width) == pytest.approx((0.3, 0.0))
