"""`Frontier`: accuracies by method, network, bytes and steps, each with its best training rule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.forms import typed, understood
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import REFERENCE, UPPER, Score, Scores

_SGD = "sgd"


@dataclass(frozen=True)
class Cell:
    """One method at one place of the frontier, trained by one rule.

    `axis` is "steps" (sets as the recipe has them), "bytes" or "own" (a method's own length).
    """

    method: str
    network: str
    axis: str
    budget: str  # the steps or bytes that were allowed; empty for "own"
    optimiser: str
    lr_factor: float
    bytes: int  # of the set
    steps: int
    error: float  # on held-out pool images, for the first seed
    best: bool  # whether no other optimiser had a lower error here
    batch: int = 0  # images a step; 0 in files of earlier versions
    scores: tuple[Score, ...] = ()
    keys: tuple[str, ...] = ()  # of the probes that the scores come from

    @property
    def place(self) -> tuple[str, str, str, str, int]:
        """What cells must share to be compared: all but the rule."""
        at = self.steps if self.axis == "bytes" else 0
        return (self.method, self.network, self.axis, self.budget, at)


@dataclass(frozen=True)
class Frontier:
    """All cells, and the trials by which their rules were chosen."""

    name: str  # the recipe's
    cells: tuple[Cell, ...]
    trials: dict[str, float | None] = field(default_factory=dict)  # errors by key; None: diverged

    def save(self, path: Path | str) -> None:
        """Write `frontier.json`."""
        content = {
            "name": self.name,
            "cells": [asdict(cell) | {"scores": _nested(cell.scores)} for cell in self.cells],
            "trials": self.trials,
        }
        storage.save_json(path, content, kind="frontier")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        with understood(path):
            content = storage.load_json(path, kind="frontier")
            for cell in content["cells"]:
                cell["scores"] = [asdict(score) for score in _flat(cell["scores"], cell["method"])]
            found: Self = typed(content, cls)
            for cell in found.cells:
                if not cell.scores:
                    raise DecoctError(f"a cell of {cell.method} has no scores")
                if cell.axis == "steps" and not (cell.budget.isdecimal() and cell.steps > 0):
                    raise DecoctError(f"{cell.steps} steps of {cell.budget!r} are none")
            return found

    def networks(self) -> list[str]:
        """The student networks, in order."""
        return list(dict.fromkeys(cell.network for cell in self.cells))

    def methods(self) -> list[str]:
        """The methods, in order."""
        return list(dict.fromkeys(cell.method for cell in self.cells))

    def lengths(self, network: str) -> list[int]:
        """The numbers of steps at which bytes are varied."""
        return sorted({c.steps for c in self.cells if (c.network, c.axis) == (network, "bytes")})

    def line(self, method: str, network: str, axis: str, *, at: int | None = None) -> list[Cell]:
        """A method's best cells along one axis, from the smallest budget; `at` so many steps."""
        found = [c for c in self.cells if (c.method, c.network, c.axis) == (method, network, axis)]
        fits = (c for c in found if c.best and at in (None, c.steps))
        return sorted(fits, key=lambda c: (c.steps, c.bytes))

    def gap(self, cell: Cell, *, rule: str) -> Interval | None:
        """The share of the way from random images to all images that a cell has come.

        `rule` is "published", both ends trained by SGD, or "strict", both ends by their best rule.
        The lower end is `random` with the fewest steps at which the recipe trains it, the upper
        one `full` with its own length. None if an end is missing or the ends are not apart.
        """
        low = self._end(REFERENCE, cell.network, rule)
        high = self._end(UPPER, cell.network, rule)
        if low is None or high is None:
            return None
        named = [
            *_renamed(low.scores, REFERENCE),
            *_renamed(high.scores, UPPER),
            *_renamed(cell.scores, "cell"),
        ]
        return Scores(tuple(named)).row("cell", None).gap_recovered

    def _end(self, method: str, network: str, rule: str) -> Cell | None:
        own = [c for c in self.cells if (c.method, c.network, c.axis) == (method, network, "own")]
        fits = (c for c in own if (c.best if rule == "strict" else c.optimiser == _SGD))
        return next(fits, None)


def accuracy(cell: Cell) -> Interval:
    """A cell's accuracy, averaged over tasks and choices of labels."""
    return Scores(_renamed(cell.scores, cell.method)).row(cell.method, None).accuracy


def difference(cell: Cell, other: Cell) -> Interval:
    """By how much a cell exceeds another, paired."""
    named = (*_renamed(cell.scores, "cell"), *_renamed(other.scores, REFERENCE))
    over = Scores(named).row("cell", None).over_random
    if over is None:  # all cells of a frontier have its seeds and tasks
        raise DecoctError(
            f"the frontier's {cell.method} shares no scores with {other.method}; measure it again"
        )
    return over


def _renamed(scores: Sequence[Score], method: str) -> tuple[Score, ...]:
    return tuple(replace(score, method=method) for score in scores)


Nested = dict[str, dict[str, dict[str, list[float]]]]


def _nested(scores: Sequence[Score]) -> Nested:
    """Accuracies by seed, task, labels and draw: a tenth of the size of single scores."""
    found: Nested = {}
    for s in sorted(scores, key=lambda s: s.draw):
        by_task = found.setdefault(str(s.seed), {}).setdefault(s.task, {})
        by_task.setdefault(s.labels, []).append(s.accuracy)
    return found


def _flat(nested: Nested, method: str) -> tuple[Score, ...]:
    return tuple(
        Score(method, int(seed), task, labels, draw, accuracy)
        for seed, tasks in nested.items()
        for task, choices in tasks.items()
        for labels, accuracies in choices.items()
        for draw, accuracy in enumerate(accuracies)
    )
