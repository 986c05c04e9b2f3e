"""`Scores`: accuracies by method, seed, task and labels, and what they say with what certainty."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.stats

from decoct import storage

REFERENCE, UPPER = "random", "full"


@dataclass(frozen=True)
class Score:
    """One accuracy, in per cent."""

    method: str
    seed: int
    task: str
    labels: str
    draw: int
    accuracy: float


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95 % interval (Student's t); nan where there is one value.

    >>> Interval.of([1.0, 2.0, 3.0]).mean
    2.0
    """

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The interval of independent values: one a seed."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, math.nan)
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return cls(mean, float(scipy.stats.t.ppf(0.975, len(values) - 1)) * error)

    def __str__(self) -> str:
        return f"{self.mean:.1f}{self._width()}"

    def signed(self) -> str:
        """As text, for a difference: with its sign.

        >>> Interval(mean=1.25, half_width=0.5).signed()
        '+1.2 ± 0.5'
        """
        return f"{self.mean:+.1f}{self._width()}"

    def _width(self) -> str:
        return "" if math.isnan(self.half_width) else f" ± {self.half_width:.1f}"

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference that this is the interval of is more than noise."""
        return abs(self.mean) > self.half_width


@dataclass(frozen=True)
class Row:
    """A method's line in the table, at one choice of labels."""

    method: str
    labels: str
    accuracy: Interval  # mean over tasks
    by_task: dict[str, Interval]
    over_random: Interval | None  # paired by seed
    gap_recovered: float | None  # (method - random) / (full - random)


@dataclass(frozen=True)
class Scores:
    """All accuracies of a comparison, and facts about each method (steps, bytes, ...).

    >>> found = {"random": 40.0, "mkdt": 42.0, "full": 44.0}
    >>> scores = Scores(tuple(Score(m, 0, "emoji", "5%", 0, a) for m, a in found.items()))
    >>> [(row.method, row.gap_recovered) for row in scores.table()]
    [('random', None), ('mkdt', 0.5), ('full', None)]
    """

    scores: tuple[Score, ...]
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, path: Path | str) -> None:
        """Write `scores.json`: the accuracies, and the table made of them."""
        content = {
            "scores": [asdict(s) for s in self.scores],
            "facts": self.facts,
            "table": [_finite(asdict(row)) for row in self.table()],
        }
        storage.save_json(path, content, kind="scores")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        content = storage.load_json(path, kind="scores")
        return cls(tuple(Score(**s) for s in content["scores"]), content["facts"])

    def tasks(self) -> list[str]:
        """The tasks' names, in their order."""
        return _unique(s.task for s in self.scores)

    def labels(self) -> list[str]:
        """The choices of labels, in their order."""
        return _unique(s.labels for s in self.scores)

    def table(self) -> list[Row]:
        """A row for each method and choice of labels."""
        methods = _unique(s.method for s in self.scores)
        return [self._row(m, labels) for labels in self.labels() for m in methods]

    def by_seed(self, method: str, labels: str, task: str | None = None) -> dict[int, float]:
        """A method's accuracy by seed, mean over draws and (unless one is given) over tasks."""
        found: dict[int, list[float]] = {}
        for s in self.scores:
            if s.method == method and s.labels == labels and task in (None, s.task):
                found.setdefault(s.seed, []).append(s.accuracy)
        return {seed: float(np.mean(values)) for seed, values in found.items()}

    def _row(self, method: str, labels: str) -> Row:
        own, reference, upper = (self.by_seed(m, labels) for m in (method, REFERENCE, UPPER))
        paired = [own[seed] - reference[seed] for seed in own if seed in reference]
        gap = None
        if reference and upper and method not in (REFERENCE, UPPER):
            low, high = (float(np.mean(list(x.values()))) for x in (reference, upper))
            if high > low:  # otherwise there is no gap to recover
                gap = (float(np.mean(list(own.values()))) - low) / (high - low)
        return Row(
            method=method, labels=labels, accuracy=Interval.of(list(own.values())),
            by_task={
                task: Interval.of(list(found.values()))
                for task in self.tasks()
                if (found := self.by_seed(method, labels, task))
            },
            over_random=Interval.of(paired) if paired and method != REFERENCE else None,
            gap_recovered=gap,
        )  # fmt: skip


def _finite(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
