"""Accuracy by class: on which classes the recipe's own method gains, and on which it loses."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decoct.evaluation.probe import ProbeScore
from decoct.evaluation.scores import REFERENCE
from decoct.report.table import labels_phrase

Probes = Mapping[str, Sequence[ProbeScore]]  # by method, of all seeds


@dataclass(frozen=True)
class ClassTable:
    """The classes of one task, those that gain most first."""

    title: str
    summary: str
    rows: list[list[str]]  # header, and one line for each class


def class_tables(probes: Probes, hero: str) -> list[ClassTable]:
    """A table for each task, with the last choice of labels; none if files are too old to say.

    >>> found = {"random": [ProbeScore("emoji", "5%", 0, 50.0, {"cats": 60.0, "dogs": 40.0})],
    ...          "carried": [ProbeScore("emoji", "5%", 0, 60.0, {"cats": 58.0, "dogs": 62.0})]}
    >>> table = class_tables(found, "carried")[0]
    >>> table.summary
    'most over random: dogs (+22.0); least: cats (−2.0)'
    >>> table.rows[1]
    ['dogs', '40.0', '62.0', '+22.0']
    """
    own = [score for score in probes.get(hero, ()) if score.by_class]
    if not own or hero == REFERENCE:
        return []
    return [_table(probes, hero, task) for task in dict.fromkeys(score.task for score in own)]


def _table(probes: Probes, hero: str, task: str) -> ClassTable:
    labels = [score.labels for score in probes[hero] if score.task == task][-1]
    found = {m: _means(scores, task, labels) for m, scores in probes.items()}
    found = {m: means for m, means in found.items() if means}
    own, random = found[hero], found.get(REFERENCE, {})
    over = {name: own[name] - random[name] for name in own if name in random}
    order = sorted(own, key=lambda name: -over.get(name, own[name]))
    header = ["class", *found, *([f"{hero} over random"] * bool(over))]
    lines = [
        [
            name,
            *(f"{means[name]:.1f}" if name in means else "" for means in found.values()),
            *([_signed(over[name]) if name in over else ""] * bool(over)),
        ]
        for name in order
    ]
    return ClassTable(
        f"{task}, with {labels_phrase(labels)}", _summary(order, over), [header, *lines]
    )


def _means(scores: Sequence[ProbeScore], task: str, labels: str) -> dict[str, float]:
    """The accuracy of each class, over seeds and draws of labels."""
    parts: dict[str, list[float]] = {}
    for score in scores:
        if (score.task, score.labels) == (task, labels):
            for name, value in score.by_class.items():
                parts.setdefault(name, []).append(value)
    return {name: statistics.mean(values) for name, values in parts.items()}


def _summary(order: Sequence[str], over: Mapping[str, float]) -> str:
    if not over:
        return f"{len(order)} classes"
    first, last = (f"{name} ({_signed(over[name])})" for name in (order[0], order[-1]))
    return f"most over random: {first}; least: {last}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
