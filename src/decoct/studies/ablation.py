"""`Ablation`: the outcome of each variant of a recipe, and differences with their uncertainty."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.forms import read_json
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import REFERENCE, UPPER, Score, Scores

_BASE = "(own)"  # what a line's comparison calls the recipe's own outcome


@dataclass(frozen=True)
class Outcome:
    """The outcome of one value of an axis."""

    axis: str
    value: str
    base: bool  # whether it is the recipe's own
    scores: tuple[Score, ...]  # of mkdt and random; on axis `size` also of full, if it is compared
    loss: tuple[float, ...] | None  # at the beginning and end, mean over seeds; None: no loss
    seconds: float  # to distil a set, mean over seeds
    bytes: int = 0  # of a set, mean over seeds; older files do not say


@dataclass(frozen=True)
class Line:
    """An outcome for one choice of labels; accuracies are means over tasks."""

    outcome: Outcome
    accuracy: Interval
    random: Interval  # the same number of real images, with targets of the same teacher
    to_base: tuple[float, ...]  # paired differences, one per seed
    over_random: tuple[float, ...]
    against_base: Interval  # the same, by seed, task and draw of labels
    against_random: Interval
    gap_recovered: Interval | None  # (mkdt - random) / (full - random)


@dataclass(frozen=True)
class Ablation:
    """The outcomes axis by axis; each axis includes the recipe's own.

    >>> def outcome(value, base, accuracies):
    ...     scores = [Score("mkdt", i, "emoji", "5%", 0, a) for i, a in enumerate(accuracies)]
    ...     scores += [Score("random", i, "emoji", "5%", 0, 40.0) for i in range(2)]
    ...     return Outcome("start", value, base, tuple(scores), (1.0, 0.9), 60.0)
    >>> found = Ablation("mine", (outcome("random", True, [42.0, 44.0]),
    ...                           outcome("high-loss", False, [43.0, 45.0])))
    >>> [line.to_base for line in found.lines("start", "5%")]
    [(0.0, 0.0), (1.0, 1.0)]
    """

    name: str  # the recipe's
    outcomes: tuple[Outcome, ...]
    what: dict[str, str] = field(default_factory=dict)  # a short description of each axis

    @property
    def method(self) -> str:
        """The method that is varied."""
        names = (s.method for o in self.outcomes for s in o.scores)
        return next(name for name in names if name not in (REFERENCE, UPPER))

    def save(self, path: Path | str) -> None:
        """Write `ablation.json`."""
        outcomes = [asdict(o) for o in self.outcomes]
        content = {"name": self.name, "outcomes": outcomes, "what": self.what}
        storage.save_json(path, content, kind="ablation")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        found: Self = read_json(path, cls, of="ablation")
        return found

    def axes(self) -> list[str]:
        """The axes' names, in their order."""
        return list(dict.fromkeys(o.axis for o in self.outcomes))

    def labels(self) -> list[str]:
        """The choices of labels, in their order."""
        return list(dict.fromkeys(s.labels for o in self.outcomes for s in o.scores))

    def seeds(self) -> list[int]:
        """The seeds, in their order."""
        return list(dict.fromkeys(s.seed for o in self.outcomes for s in o.scores))

    def lines(self, axis: str, labels: str) -> list[Line]:
        """A line for each outcome on an axis, for one choice of labels."""
        outcomes = [o for o in self.outcomes if o.axis == axis]
        bases = [o for o in outcomes if o.base]
        if len(bases) != 1:
            raise DecoctError(f"the ablation's axis {axis} has {len(bases)} values of the recipe")
        return [_line(o, labels, self.method, bases[0]) for o in outcomes]


def _line(outcome: Outcome, labels: str, method: str, base: Outcome) -> Line:
    bases = tuple(replace(s, method=_BASE) for s in base.scores if s.method == method)
    both = Scores((*outcome.scores, *bases))
    against_base, against_random = (both.over(method, m, labels) for m in (_BASE, REFERENCE))
    if not against_base or not against_random:  # all variants of a recipe have its seeds and tasks
        raise DecoctError(
            f"the ablation's {outcome.axis} {outcome.value} shares no scores; repeat it"
        )
    row = both.row(method, labels)
    return Line(
        outcome=outcome,
        accuracy=row.accuracy,
        random=both.row(REFERENCE, labels).accuracy,
        to_base=tuple(both.paired(method, _BASE, labels)),
        over_random=tuple(both.paired(method, REFERENCE, labels)),
        against_base=against_base,
        against_random=against_random,
        gap_recovered=row.gap_recovered,
    )


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """The beginning and end of a noisy series: the means of its first and last twentieth.

    >>> ends([4.0, 3.0, 2.0, 1.0])
    (4.0, 1.0)
    """
    count = max(1, len(losses) // 20)
    return sum(losses[:count]) / count, sum(losses[-count:]) / count
