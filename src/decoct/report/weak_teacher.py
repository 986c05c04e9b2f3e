"""Say so when the teacher is no better than nothing: then no set made from it can be."""

from decoct.evaluation.interval import Interval, mark
from decoct.evaluation.scores import REFERENCE, Scores
from decoct.methods.none import NoPretraining
from decoct.methods.registry import METHODS
from decoct.methods.teacher import Teacher

ADVICE = (
    "bring another (--teacher.source timm:NAME), or train one on these pictures, for longer if it "
    "was (--teacher.train, --teacher.ssl.steps)"
)
_SAID = {
    NoPretraining.name: "an untrained network",
    REFERENCE: "a network that learnt from random images",
}


def weak_teacher(scores: Scores) -> str:
    """A sentence on a teacher that is not surely better than a reference; empty if it is better.

    Accuracies are means over all tasks and labels. Nothing is said if a set is surely better than
    that reference all the same.

    >>> from decoct.evaluation.scores import Score
    >>> found = {"random": 41.0, "carried": 40.0, "teacher": 40.5}
    >>> scores = Scores(tuple(Score(m, 0, "emoji", "5%", 0, a) for m, a in found.items()))
    >>> weak_teacher(scores).partition(",")[0]
    'The teacher is no better than a network that learnt from random images (40.5 and 41.0 %)'
    """
    for other, said in _SAID.items():
        over = scores.over(Teacher.name, other, None)
        if over is None or not _no_better(over) or _is_refuted(scores, other):
            continue
        own, its = (scores.row(method, None).accuracy.mean for method in (Teacher.name, other))
        chance = ", within noise" if mark(over) == "within noise" else ""
        return (
            f"The teacher is no better than {said} ({own:.1f} and {its:.1f} %{chance}), so "
            f"no set can be: {ADVICE}."
        )
    return ""


def _no_better(over: Interval) -> bool:
    """Whether a difference is negative or may be noise; one seed's is taken as it is."""
    return over.mean <= 0 or mark(over) == "within noise"


def _is_refuted(scores: Scores, other: str) -> bool:
    """Whether some set is surely better than a reference."""
    methods = dict.fromkeys(score.method for score in scores.scores)
    sets = [m for m in methods if m not in _SAID and m in METHODS and METHODS[m].makes_set]
    found = (scores.over(method, other, None) for method in sets)
    return any(over is not None and mark(over) == "above" for over in found)
