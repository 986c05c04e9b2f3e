"""What the table says is what a statistician would compute."""

import math
import statistics
from pathlib import Path

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Interval, Row, Score, Scores

# accuracy by method, seed and task (two tasks, one choice of labels)
BY_HAND = {
    "random": {0: (30.0, 40.0), 1: (32.0, 42.0), 2: (31.0, 47.0)},  # means 35, 37, 39
    "mkdt": {0: (33.0, 41.0), 1: (36.0, 42.0), 2: (35.0, 49.0)},  # means 37, 39, 42
    "full": {0: (40.0, 46.0), 1: (41.0, 47.0), 2: (42.0, 48.0)},  # means 43, 44, 45
}


def scores_of(table: dict[str, dict[int, tuple[float, float]]]) -> Scores:
    return Scores(
        tuple(
            Score(method=method, seed=seed, task=task, labels="5%", draw=0, accuracy=accuracy)
            for method, seeds in table.items()
            for seed, pair in seeds.items()
            for task, accuracy in zip(("a", "b"), pair, strict=True)
        )
    )


def rows(scores: Scores) -> dict[str, Row]:
    return {row.method: row for row in scores.table()}


@pytest.mark.parametrize("values", [[1.0, 2.0], [3.0, 1.0, 4.0, 1.0, 5.0], [10.0, 10.5, 9.0]])
def test_interval_is_students_t(values: list[float]) -> None:
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=statistics.mean(values), scale=scipy.stats.sem(values)
    )
    interval = Interval.of(values)
    assert interval.mean - interval.half_width == pytest.approx(low, rel=1e-12)
    assert interval.mean + interval.half_width == pytest.approx(high, rel=1e-12)


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
    assert str(interval) == "5.0"


def test_excludes_zero() -> None:
    assert Interval(2.0, 1.9).excludes_zero
    assert Interval(-2.0, 1.9).excludes_zero
    assert not Interval(2.0, 2.1).excludes_zero
    assert str(Interval(2.0, 1.94)) == "2.0 ± 1.9"


def test_accuracy_is_the_interval_over_seeds_of_the_mean_over_tasks() -> None:
    table = rows(scores_of(BY_HAND))
    assert table["mkdt"].accuracy == Interval.of([37.0, 39.0, 42.0])
    assert table["mkdt"].by_task == {
        "a": Interval.of([33.0, 36.0, 35.0]),
        "b": Interval.of([41.0, 42.0, 49.0]),
    }


def test_over_random_is_the_paired_difference() -> None:
    over = rows(scores_of(BY_HAND))["mkdt"].over_random
    assert over == Interval.of([2.0, 2.0, 3.0])
    result = scipy.stats.ttest_rel([37.0, 39.0, 42.0], [35.0, 37.0, 39.0])
    low, high = result.confidence_interval(0.95)
    assert over is not None
    assert (over.mean - over.half_width, over.mean + over.half_width) == pytest.approx((low, high))
    assert over.excludes_zero == (result.pvalue < 0.05)


def test_over_random_pairs_seeds_by_number_and_skips_those_without_partner() -> None:
    table = {"random": {5: (30.0, 30.0), 1: (10.0, 10.0)}, "mkdt": {1: (12.0, 12.0)}}
    table["mkdt"][5] = (31.0, 31.0)
    table["mkdt"][9] = (90.0, 90.0)
    over = rows(scores_of(table))["mkdt"].over_random
    assert over == Interval.of([2.0, 1.0])


def test_gap_recovered_by_hand() -> None:
    # Means over seeds and tasks: random 37, mkdt 118 / 3, full 44.
    table = rows(scores_of(BY_HAND))
    assert table["mkdt"].gap_recovered.mean == pytest.approx((118 / 3 - 37) / (44 - 37), rel=1e-12)


def test_the_ends_of_the_gap_have_no_gap_recovered() -> None:
    table = rows(scores_of(BY_HAND))
    assert table["random"].over_random is None
    assert table["random"].gap_recovered is table["full"].gap_recovered is None
    assert table["full"].over_random == Interval.of([8.0, 7.0, 6.0])


@pytest.mark.parametrize("missing", ["random", "full"])
def test_no_gap_without_both_its_ends(missing: str) -> None:
    table = {method: seeds for method, seeds in BY_HAND.items() if method != missing}
    row = rows(scores_of(table))["mkdt"]
    assert row.gap_recovered is None
    assert (row.over_random is None) == (missing == "random")


def test_no_gap_where_there_is_none() -> None:
    table = {**BY_HAND, "full": BY_HAND["random"]}
    assert rows(scores_of(table))["mkdt"].gap_recovered is None


def test_draws_of_labels_are_averaged_within_a_seed() -> None:
    scores = Scores(
        tuple(
            Score("mkdt", seed, "a", "5%", draw, accuracy)
            for seed, draw, accuracy in [(0, 0, 10.0), (0, 1, 20.0), (1, 0, 30.0), (1, 1, 50.0)]
        )
    )
    assert scores.by_seed("mkdt", "5%") == {0: 15.0, 1: 40.0}
    assert rows(scores)["mkdt"].accuracy == Interval.of([15.0, 40.0])


def test_each_choice_of_labels_is_its_own_comparison() -> None:
    scores = Scores(
        tuple(
            Score(method, seed, "a", labels, 0, accuracy)
            for labels, offset in (("5%", 0.0), ("20%", 40.0))
            for method, seed, accuracy in [("random", 0, offset), ("mkdt", 0, 2 * offset + 1)]
        )
    )
    assert [(r.labels, r.method) for r in scores.table()] == [
        ("5%", "random"),
        ("5%", "mkdt"),
        ("20%", "random"),
        ("20%", "mkdt"),
    ]
    overs = [r.over_random.mean for r in scores.table() if r.over_random is not None]
    assert overs == [1.0, 41.0]


def test_round_trip(tmp_path: Path) -> None:
    scores = Scores(scores_of(BY_HAND).scores, facts={"mkdt": {"images": 378, "steps": 120}})
    scores.save(tmp_path / "scores.json")
    assert Scores.load(tmp_path / "scores.json") == scores


def test_a_single_seed_is_saved_as_json_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    scores_of({"random": {0: (30.0, 40.0)}, "mkdt": {0: (31.0, 41.0)}}).save(path)
    assert "NaN" not in path.read_text()
    assert len(Scores.load(path).scores) == 4


def test_altered_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    scores_of(BY_HAND).save(path)
    path.write_text(path.read_text().replace("49.0", "59.0"))
    with pytest.raises(DecoctError, match="damaged"):
        Scores.load(path)
