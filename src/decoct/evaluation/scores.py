"""`Scores`: accuracies by method, seed, task and labels, and comparisons with their uncertainty."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, TypedDict

import msgspec
import numpy as np

from decoct.core import storage
from decoct.core.forms import typed, understood
from decoct.evaluation.bootstrap import Unit
from decoct.evaluation.interval import Interval

REFERENCE, UPPER = "random", "full"
ALL = "mean"  # over all choices of labels
_AS_MANY_STEPS = "as_many_steps_as"  # a fact: the method that this one repeats with fewer steps
_SHORTER = "-steps"  # suffix of such methods' names, for files of version 1, which lack the fact


@dataclass(frozen=True)
class Score:
    """One accuracy, in per cent."""

    method: str
    seed: int
    task: str
    labels: str
    draw: int
    accuracy: Annotated[float, msgspec.Meta(ge=0, le=100)]  # checked where a file is read


@dataclass(frozen=True)
class Row:
    """A method's row in the table, for one choice of labels."""

    method: str
    labels: str
    accuracy: Interval  # mean over tasks
    by_task: dict[str, Interval]
    over_random: Interval | None  # paired by seed, task and draw of labels
    gap_recovered: Interval | None  # (method - random) / (full - random), paired likewise


class _Facts(TypedDict, total=False):
    """What tables read of the facts about a method; there may be others."""

    images: int | None
    bytes: int | None
    steps: int | None
    epochs: int | None
    as_many_steps_as: str
    stopped: list[str]


@dataclass(frozen=True)
class Scores:
    """All accuracies of a comparison, and facts about each method (steps, bytes, ...).

    >>> found = {"random": 40.0, "mkdt": 42.0, "full": 44.0}
    >>> many = (Score(m, i, "emoji", "5%", 0, a + i) for m, a in found.items() for i in range(3))
    >>> rows = Scores(tuple(many)).table()
    >>> [(row.method, row.gap_recovered and row.gap_recovered.mean) for row in rows]
    [('random', None), ('mkdt', 0.5), ('full', None)]
    """

    scores: tuple[Score, ...]
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, path: Path | str) -> None:
        """Write `scores.json`: the accuracies and the table computed from them."""
        content = {
            "scores": [asdict(s) for s in self.scores],
            "facts": self.facts,
            "table": [_finite(asdict(row)) for row in self.table()],
        }
        storage.save_json(path, content, kind="scores")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        with understood(path):
            content = storage.load_json(path, kind="scores")
            found = typed(content["scores"], tuple[Score, ...])
            typed(content["facts"], dict[str, _Facts])
            known: dict[str, dict[str, Any]] = content["facts"]
        for method, facts in known.items():
            if method.endswith(_SHORTER):
                facts.setdefault(_AS_MANY_STEPS, method.removesuffix(_SHORTER))
        return cls(found, known)

    def terms(self) -> list[tuple[str, "Scores"]]:
        """The comparison at equal steps and at equal epochs, if methods were run for both.

        Small sets have one size, so the two differ only in the training on all images: for as many
        gradient steps as a small set, or for as many epochs ("own epochs" if the recipe sets
        another number). If no method has a small set's steps: all scores, under an empty name.

        >>> found = {"random": 40.0, "full": 44.0, "full-steps": 42.0}
        >>> all_scores = tuple(Score(m, 0, "emoji", "5%", 0, a) for m, a in found.items())
        >>> scores = Scores(all_scores, {"full-steps": {"as_many_steps_as": "full"}})
        >>> [(name, part.by_seed("full", "5%")) for name, part in scores.terms()]
        [('equal steps', {0: 42.0}), ('equal epochs', {0: 44.0})]
        """
        methods = _unique(s.method for s in self.scores)
        shorter = self._shorter()
        if not shorter:
            return [("", self)]
        longer = set(methods) & set(shorter.values())
        steps = {m: shorter.get(m, m) for m in methods if m not in longer and self._as_short(m)}
        if not longer:
            return [("equal steps", self._of(steps))]
        epochs = {m: m for m in methods if m not in shorter}
        name = "equal epochs" if self._equal_epochs() else "own epochs"
        return [("equal steps", self._of(steps)), (name, self._of(epochs))]

    def _shorter(self) -> dict[str, str]:
        """The methods that repeat another one on all images with a small set's steps."""
        found = {m: facts.get(_AS_MANY_STEPS, "") for m, facts in self.facts.items()}
        return {method: longer for method, longer in found.items() if longer}

    def _as_short(self, method: str) -> bool:
        """Whether a method takes as many steps as the reference; stored views take more."""
        own, reference = (self.facts.get(m, {}).get("steps") for m in (method, REFERENCE))
        if method in self._shorter() or own is None or reference is None:
            return True
        return bool(own <= reference)

    def _equal_epochs(self) -> bool:
        """Whether training visits all images as often as those of a small set."""
        small, large = (self.facts.get(method, {}).get("epochs") for method in (REFERENCE, UPPER))
        return bool(small == large)

    def _of(self, names: dict[str, str]) -> "Scores":
        """The scores of some methods, renamed to the given names."""
        scores = (replace(s, method=names[s.method]) for s in self.scores if s.method in names)
        facts = {
            names[m]: {k: v for k, v in found.items() if k != _AS_MANY_STEPS}
            for m, found in self.facts.items()
            if m in names
        }
        return Scores(tuple(scores), facts)

    @cached_property
    def _by_method(self) -> dict[str, list[Score]]:
        found: dict[str, list[Score]] = {}
        for s in self.scores:
            found.setdefault(s.method, []).append(s)
        return found

    def tasks(self) -> list[str]:
        """The tasks' names, in their order."""
        return _unique(s.task for s in self.scores)

    def labels(self) -> list[str]:
        """The choices of labels, in their order."""
        return _unique(s.labels for s in self.scores)

    def table(self) -> list[Row]:
        """A row for each method and choice of labels."""
        return [row for labels in self.labels() for row in self.rows(labels)]

    def rows(self, labels: str | None) -> list[Row]:
        """A row for each method, for one choice of labels or for the mean over all of them.

        A method that was not judged with these labels has none.
        """
        judged = (method for method in self._by_method if self.units(method, labels))
        return [self.row(method, labels) for method in judged]

    def by_seed(self, method: str, labels: str | None, task: str | None = None) -> dict[int, float]:
        """A method's accuracy by seed, averaged over draws, choices of labels and tasks.

        Restricted to one choice of labels or one task if these are given.
        """
        found: dict[int, list[float]] = {}
        for s in self._by_method.get(method, ()):
            if labels in (None, s.labels) and task in (None, s.task):
                found.setdefault(s.seed, []).append(s.accuracy)
        return {seed: float(np.mean(values)) for seed, values in found.items()}

    def paired(self, method: str, other: str, labels: str | None) -> list[float]:
        """By how much a method exceeds another, averaged over tasks, for each common seed.

        >>> found = {("sas", 0): 40.0, ("mkdt", 0): 42.0, ("sas", 1): 41.0, ("mkdt", 1): 42.5}
        >>> of = Scores(tuple(Score(m, s, "emoji", "5%", 0, a) for (m, s), a in found.items()))
        >>> of.paired("mkdt", "sas", "5%")
        [2.0, 1.5]
        """
        own, others = self.by_seed(method, labels), self.by_seed(other, labels)
        return [own[seed] - others[seed] for seed in own if seed in others]

    def units(self, method: str, labels: str | None, task: str | None = None) -> dict[Unit, float]:
        """A method's accuracy by seed, task and draw, averaged over choices of labels.

        Larger shares of the labels contain the smaller ones of the same draw, so they are one unit.
        """
        found: dict[Unit, list[float]] = {}
        for s in self._by_method.get(method, ()):
            if labels in (None, s.labels) and task in (None, s.task):
                found.setdefault((s.seed, s.task, s.draw), []).append(s.accuracy)
        return {unit: sum(values) / len(values) for unit, values in found.items()}

    def over(self, method: str, other: str, labels: str | None) -> Interval | None:
        """By how much a method exceeds another on what they share; None if that is nothing."""
        shared = _differences(self.units(method, labels), self.units(other, labels))
        return Interval.of_units(shared) if shared else None

    def row(self, method: str, labels: str | None) -> Row:
        """A method's row for one choice of labels, or for the mean over all of them (None)."""
        return Row(
            method=method,
            labels=labels or ALL,
            accuracy=Interval.of_units(self.units(method, labels)),
            by_task={
                task: Interval.of_units(found)
                for task in self.tasks()
                if (found := self.units(method, labels, task))
            },
            over_random=None if method == REFERENCE else self.over(method, REFERENCE, labels),
            gap_recovered=self._gap(method, labels),
        )

    def _gap(self, method: str, labels: str | None) -> Interval | None:
        """The gap that a method recovers, over what it shares with random and full.

        None unless there is a gap: full must exceed random beyond chance.
        """
        if method in (REFERENCE, UPPER):
            return None
        own, low, high = (self.units(m, labels) for m in (method, REFERENCE, UPPER))
        wholes = {u: v for u, v in _differences(high, low).items() if u in own}
        if not wholes:
            return None
        gap = Interval.of_units(wholes)
        if gap.mean <= 0 or not gap.excludes_zero:
            return None
        return Interval.of_ratio({unit: own[unit] - low[unit] for unit in wholes}, wholes)


def _differences(these: dict[Unit, float], others: dict[Unit, float]) -> dict[Unit, float]:
    return {unit: value - others[unit] for unit, value in these.items() if unit in others}


def _finite(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
