"""The bootstrap's error is that of literal resampling, and its intervals cover the truth."""

import math

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from decoct.evaluation.bootstrap import Unit, bootstrap
from decoct.evaluation.interval import Interval

Array = NDArray[np.float64]


def units(values: Array) -> dict[Unit, float]:
    """Of an array by seed, task and draw."""
    return {
        (seed, f"task {task}", draw): float(value)
        for (seed, task, draw), value in np.ndenumerate(values)
    }


def simulated(
    rng: np.random.Generator, shape: tuple[int, int, int], *, by_seed: float, by_draw: float
) -> Array:
    """Values with zero mean that vary by seed and, independently, by draw."""
    of_seeds = by_seed * rng.normal(size=(shape[0], 1, 1))
    return np.asarray(of_seeds + by_draw * rng.normal(size=shape))


def resampled_means(values: Array, rng: np.random.Generator, count: int) -> Array:
    """The reference: seeds are drawn with replacement and, in each, draws for each task."""
    seeds, tasks, draws = values.shape
    chosen = rng.integers(seeds, size=(count, seeds, 1, 1))
    drawn = rng.integers(draws, size=(count, seeds, tasks, draws))
    return np.asarray(values[chosen, np.arange(tasks)[:, None], drawn].mean((1, 2, 3)))


# Against literal resampling


@pytest.mark.parametrize("by_seed", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("shape", [(4, 2, 5), (3, 1, 8), (1, 2, 6)])
def test_the_error_is_that_of_literal_resampling(
    shape: tuple[int, int, int], by_seed: float
) -> None:
    rng, (seeds, tasks, draws) = np.random.default_rng(1), shape
    values = simulated(rng, shape, by_seed=by_seed, by_draw=1.0)
    found = bootstrap(units(values))
    # Resamples of n values vary by (n - 1) / n of what independent ones would.
    seed_part = values.mean((1, 2)).var(ddof=1) / seeds if seeds > 1 else 0.0
    draw_part = values.var(2, ddof=1).sum() / (draws * (seeds * tasks) ** 2)
    assert found.error**2 == pytest.approx(seed_part + draw_part)
    expected = seed_part * (seeds - 1) / seeds + draw_part * (draws - 1) / draws
    means = resampled_means(values, rng, 40_000)
    assert means.var() == pytest.approx(expected, rel=0.03)
    assert found.mean == pytest.approx(values.mean())
    assert found.seeds == seeds


def test_a_ratio_is_resampled_as_a_whole() -> None:
    rng, shape = np.random.default_rng(2), (6, 2, 10)
    wholes = 8 + simulated(rng, shape, by_seed=0.5, by_draw=0.5)
    parts = 0.4 * wholes + simulated(rng, shape, by_seed=0.2, by_draw=0.3)
    found = Interval.of_ratio(units(parts), units(wholes))
    assert found.mean == pytest.approx(parts.mean() / wholes.mean())
    same = [np.random.default_rng(3) for _ in range(2)]  # the same resamples for both
    ratios = np.divide(
        *(resampled_means(v, r, 20_000) for v, r in zip((parts, wholes), same, strict=True))
    )
    left = bootstrap(units(parts - found.mean * wholes))
    error = found.half_width / scipy.stats.t.ppf(0.975, left.freedom)
    assert error == pytest.approx(ratios.std(), rel=0.12)  # 6 seeds: sqrt(6 / 5) is 1.10


# Special cases


@pytest.mark.parametrize("values", [[1.0, 2.0], [3.0, 1.0, 4.0, 1.0, 5.0], [10.0, 10.5, 9.0]])
def test_without_draws_it_is_students_t(values: list[float]) -> None:
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
    )
    found = Interval.of(values)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high), rel=1e-12
    )


def test_one_seed_is_students_t_over_its_draws_and_says_so() -> None:
    values = np.random.default_rng(0).normal(size=(1, 1, 7))
    found = Interval.of_units(units(values))
    half = scipy.stats.t.ppf(0.975, 6) * scipy.stats.sem(values.ravel())
    assert found.half_width == pytest.approx(half)
    assert found.one_seed


def test_two_seeds_are_trusted_no_more_than_their_one_degree_of_freedom() -> None:
    values = simulated(np.random.default_rng(0), (2, 1, 20), by_seed=0.0, by_draw=1.0)
    assert bootstrap(units(values)).freedom == 1


def test_freedom_is_that_of_what_varies_most() -> None:
    rng = np.random.default_rng(0)
    by_seed = bootstrap(units(simulated(rng, (5, 1, 20), by_seed=100.0, by_draw=1.0)))
    by_draw = bootstrap(units(np.tile(rng.normal(size=(1, 1, 20)), (5, 1, 1))))
    assert by_seed.freedom == pytest.approx(4, rel=1e-3)
    assert by_draw.freedom == pytest.approx(5 * 19)  # all seeds are alike


def test_values_that_do_not_vary_are_certain() -> None:
    found = Interval.of_units(units(np.full((3, 2, 4), 1.5)))
    assert (found.mean, found.half_width, found.detectable) == (1.5, 0.0, 0.0)


def test_nothing_to_resample_has_no_error() -> None:
    assert math.isnan(bootstrap({(0, "a", 0): 5.0}).error)


# What is promised


def estimates(
    by_seed: float, *, seeds: int, draws: int = 20, trials: int = 1500, effect: float = 0.0
) -> list[Interval]:
    rng = np.random.default_rng(0)
    return [
        Interval.of_units(
            units(effect + simulated(rng, (seeds, 1, draws), by_seed=by_seed, by_draw=1.0))
        )
        for _ in range(trials)
    ]


@pytest.mark.parametrize("ratio", [0.0, 1.0, 8.0, 1000.0])
def test_intervals_of_five_seeds_cover_95_percent(ratio: float) -> None:
    # `ratio`: a seed's variance over that of the mean of its draws, which is 1 / 20.
    found = estimates(math.sqrt(ratio / 20), seeds=5)
    assert np.mean([abs(x.mean) < x.half_width for x in found]) >= 0.94


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five() -> None:
    effect = float(np.median([x.detectable for x in estimates(0.5, seeds=10, trials=400)]))
    found = estimates(0.5, seeds=10, trials=1000, effect=effect)
    assert np.mean([x.excludes_zero for x in found]) == pytest.approx(0.8, abs=0.06)
