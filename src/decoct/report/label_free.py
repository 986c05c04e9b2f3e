"""What encoders are worth without labels, as a table: for the report and for a terminal."""

import math
import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoct.evaluation.label_free import LabelFreeRow, LabelFreeScores
from decoct.evaluation.scores import REFERENCE
from decoct.methods.none import NoPretraining
from decoct.methods.teacher import Teacher
from decoct.report.table import STOPPED, columns
from decoct.report.weak_teacher import ADVICE

_LINE = 100  # characters
_COLUMNS = ("method", "error ↓", "RankMe ↑", "agreement ↑")
MEANINGS = (
    (
        "error",
        "the share of the teacher's variance that a linear map of the features misses on images "
        "left out: 0 is all of it found, 1 none.",
    ),
    (
        "RankMe",
        "how many directions the features use (Garrido et al. 2023); compare it only between "
        "networks of one kind, so not with the teacher's.",
    ),
    (
        "agreement",
        "the share of an image's 10 nearest neighbours that are also nearest by the teacher.",
    ),
)
CAVEAT = (
    "The three say how much of the teacher came across. Whether the teacher itself is any good, "
    "only labels can tell."
)
_EXPLAINED = 0.1  # the error of an untrained network below which the teacher says little more
_COLLAPSED = 3.0  # directions: a teacher that uses no more has collapsed
_ENOUGH = 30  # images left out: RankMe is never more than these, however good a teacher is


def label_free_rows(found: LabelFreeScores) -> list[list[str]]:
    """Header and one line for each method: means, and the range over seeds.

    >>> seeds = (LabelFreeRow(0.41 + i / 50, 23.4, 0.35, "carried", i) for i in range(2))
    >>> label_free_rows(LabelFreeScores(tuple(seeds), 200))[1]
    ['carried', '0.42 (0.41 to 0.43)', '23.4', '0.35']
    """
    parts: tuple[tuple[Callable[[LabelFreeRow], float], int], ...] = (
        (lambda row: row.error, 2),
        (lambda row: row.rankme, 1),
        (lambda row: row.agreement, 2),
    )
    return [
        list(_COLUMNS),
        *(
            [method, *(_cell([value(row) for row in found.of(method)], d) for value, d in parts)]
            for method in found.methods
        ),
    ]


def _cell(values: Sequence[float], digits: int) -> str:
    """A mean and its range, which is left out where all seeds agree."""
    ends = (min(values), statistics.mean(values), max(values))
    low, mean, high = (f"{value:.{digits}f}" for value in ends)
    return mean if low == high else f"{mean} ({low} to {high})"


def label_free_note(found: LabelFreeScores) -> str:
    """What the numbers come from, in a sentence."""
    seeds = len({row.seed for row in found.rows})
    ranges = f"; mean over {seeds} seeds, and their range" if seeds > 1 else ""
    stopped = f" {STOPPED}: {', '.join(found.stopped)}." if found.stopped else ""
    return f"On {found.left_out:,} images left out{ranges}. An arrow points to the better.{stopped}"


def weak_without_labels(found: LabelFreeScores) -> str:
    """A sentence on a teacher of which there is nothing to learn; empty without a sign of it.

    Two signs are certain enough: features that have collapsed, and targets that a linear map of an
    untrained network's features predicts.
    """
    teacher, untrained = found.of(Teacher.name), found.of(NoPretraining.name)
    rank = statistics.mean(row.rankme for row in teacher) if teacher else math.inf
    if rank <= _COLLAPSED and found.left_out >= _ENOUGH:
        return (
            f"The teacher has collapsed: it tells images apart by {rank:.1f} directions, so there "
            f"is nothing for a set to pass on: {ADVICE}."
        )
    if untrained and (error := statistics.mean(row.error for row in untrained)) <= _EXPLAINED:
        return (
            "The teacher is hardly better than an untrained network, from whose features a linear "
            f"map predicts {1 - error:.0%} of what it says, so no set can be: {ADVICE}."
        )
    return ""


def label_free_verdict(found: LabelFreeScores, hero: str) -> str:
    """How much of the teacher `hero` brings across beside its references; empty without it."""
    compared = [m for m in (hero, REFERENCE, NoPretraining.name) if found.of(m)]
    if compared[:1] != [hero] or len(compared) == 1:
        return ""
    missed = {m: statistics.mean(row.error for row in found.of(m)) for m in compared}
    others = " and ".join(f"{missed[m]:.0%} by {_SAID[m]}" for m in compared[1:])
    return f"{hero} misses {missed[hero]:.0%} of the teacher's variance, against {others}."


_SAID = {REFERENCE: "random images", NoPretraining.name: "an untrained network"}


@dataclass(frozen=True)
class LabelFreeSection:
    """What the page says without labels."""

    rows: list[list[str]]
    note: str
    verdict: str
    weak: str
    meanings: tuple[tuple[str, str], ...] = MEANINGS
    caveat: str = CAVEAT


def label_free_section(found: LabelFreeScores, hero: str) -> LabelFreeSection:
    """The section of the page; `hero` is the recipe's own method."""
    return LabelFreeSection(
        rows=label_free_rows(found),
        note=label_free_note(found),
        verdict=label_free_verdict(found, hero),
        weak=weak_without_labels(found),
    )


def label_free_text(found: LabelFreeScores) -> str:
    """The table, what its columns mean, and whether the teacher is weak."""
    meanings = [f"{name}: {text}" for name, text in MEANINGS]
    said = [label_free_note(found), *meanings, CAVEAT, weak_without_labels(found)]
    return "\n".join(
        [
            "without labels",
            columns(label_free_rows(found)),
            "",
            *(textwrap.fill(line, _LINE) for line in said if line),
        ]
    )
