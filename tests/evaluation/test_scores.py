"""What the table says is what a statistician would compute."""

from pathlib import Path

import pytest
import scipy.stats

from decoct.core.errors import DecoctError
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import Row, Score, Scores

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


def test_draws_of_labels_are_averaged_within_a_seed_and_resampled_below_it() -> None:
    values = [(0, 0, 10.0), (0, 1, 20.0), (1, 0, 30.0), (1, 1, 50.0)]
    scores = Scores(tuple(Score("mkdt", seed, "a", "5%", draw, x) for seed, draw, x in values))
    assert scores.by_seed("mkdt", "5%") == {0: 15.0, 1: 40.0}
    expected = Interval.of_units({(seed, "a", draw): x for seed, draw, x in values})
    assert rows(scores)["mkdt"].accuracy == expected
    assert expected.half_width > Interval.of([15.0, 40.0]).half_width


def test_methods_are_paired_by_draw_too() -> None:
    # Draws differ by 20 points, the two methods by 1 or 3 at each draw.
    scores = Scores(
        tuple(
            Score(method, seed, "a", labels, draw, 20.0 * draw + 5 * seed + more)
            for seed in range(3)
            for draw in range(2)
            for labels in ("5%", "20%")
            for method, more in (("random", 0.0), ("mkdt", 1.0 + 2 * draw))
        )
    )
    over = scores.row("mkdt", None).over_random
    assert over == Interval.of_units({(s, "a", d): 1.0 + 2 * d for s in range(3) for d in (0, 1)})
    assert over is not None and over.excludes_zero


def test_no_gap_that_may_be_nothing() -> None:
    table = {**BY_HAND, "full": {0: (36.0, 40.0), 1: (32.0, 48.0), 2: (31.0, 46.0)}}
    full = rows(scores_of(table))["full"].over_random  # 3, 3 and -0.5
    assert full is not None and full.mean > 0 and not full.excludes_zero
    assert rows(scores_of(table))["mkdt"].gap_recovered is None


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
