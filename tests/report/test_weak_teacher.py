"""A teacher from which there is nothing to learn is said to be one, with what to do."""

import pytest

from decoct.evaluation.scores import Score, Scores
from decoct.report.table import text_table
from decoct.report.weak_teacher import weak_teacher


def scores_of(seeds: int = 3, **methods: float) -> Scores:
    return Scores(
        tuple(
            Score(method, seed, "animals", "5%", draw, value + seed + (-1) ** (seed + draw))
            for method, value in methods.items()
            for seed in range(seeds)
            for draw in range(2)
        )
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("methods", "than"),
    [
        ({"none": 40.0, "random": 42.0, "teacher": 47.0}, ""),
        ({"none": 40.0, "random": 42.0, "teacher": 41.0}, "learnt from random images"),
        ({"none": 40.0, "random": 42.0, "teacher": 39.0}, "an untrained network"),
        ({"random": 42.0, "teacher": 42.0}, "learnt from random images"),
        ({"none": 40.0, "random": 42.0}, ""),
        ({"teacher": 40.0}, ""),
    ],
)
def test_it_is_said_when_the_teacher_is_no_better(
    methods: dict[str, float], than: str, seeds: int
) -> None:
    scores = scores_of(seeds=seeds, **methods)
    said = weak_teacher(scores)
    assert than in said and bool(than) == bool(said)
    table = text_table(scores)
    assert ("The teacher is no better than" in table) == bool(than)
    assert ("--teacher.source timm:NAME" in table) == bool(than)


def test_what_may_be_noise_counts_as_no_better() -> None:
    found = [("random", s, 42.0) for s in range(3)]
    found += [("teacher", s, 42.5 + 2 * (s - 1)) for s in range(3)]
    scores = Scores(tuple(Score(m, s, "animals", "5%", 0, a) for m, s, a in found))
    assert "(42.5 and 42.0 %, within noise)" in weak_teacher(scores)


def test_nothing_is_said_against_what_the_table_shows() -> None:
    """A set that is surely better than random images, by a teacher that is not."""
    assert weak_teacher(scores_of(random=42.0, carried=41.0, teacher=41.0))
    assert not weak_teacher(scores_of(random=42.0, carried=44.0, teacher=41.0))
