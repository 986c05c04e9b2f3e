"""The results of a comparison, as words, rows and plots."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from decoct.evaluation.interval import Interval, mark
from decoct.evaluation.scores import REFERENCE, Row, Scores
from decoct.methods.registry import METHODS
from decoct.report.plots import Whisker, intervals
from decoct.report.table import one_seed_note, table_notes, table_rows

UNSURE = ("within noise", "one seed")
_WITHIN_NOISE = "within noise: the 95 % interval of the difference includes zero"


@dataclass(frozen=True)
class Verdict:
    """A method's difference to random as a sentence, and how certain it is."""

    method: str
    text: str
    mark: str  # above, below, within noise, or one seed


@dataclass(frozen=True)
class Line:
    """A method's line in the table."""

    method: str
    cells: list[str]
    remark: str  # on the difference, if it is uncertain


@dataclass(frozen=True)
class Comparison:
    """The methods for one choice of labels."""

    labels: str
    header: list[str]
    lines: list[Line]
    notes: list[str]  # below the table, each once
    verdicts: list[Verdict]
    rows: list[Row]
    accuracy: Markup
    difference: Markup | None


def comparisons(scores: Scores, hero: str = "") -> list[Comparison]:
    """One for each choice of labels, in order; at equal steps, then at equal epochs.

    `hero` is the method to highlight.
    """
    return [
        _comparison(part, labels, terms, hero)
        for terms, part in scores.terms()
        for labels in part.labels()
    ]


def headline(comparison: Comparison, hero: str = "") -> Iterator[tuple[str, str, str]]:
    """The key number: the difference to random of `hero`, or else of the proposed methods."""
    own = [row for row in comparison.rows if row.method == hero]
    for row in own or [row for row in comparison.rows if _is_proposed(row.method)]:
        if row.over_random:
            how_sure = mark(row.over_random)
            remark = f", {how_sure}" if how_sure in UNSURE else ""
            name = f"{row.method} over {REFERENCE}, {comparison.labels}"
            yield name, signed(row.over_random), f"points{remark}"


def verdict(row: Row, *, alone: bool = False) -> Verdict | None:
    """The sentence on the paired difference of a row; None if there is no difference.

    `alone`: a note below the table says that all differences come from one seed.
    """
    over = row.over_random
    if over is None:
        return None
    what = mark(over)
    text = {
        "one seed": f"{signed(over)} points to random"
        + ("." if alone else ", from one seed: this may be noise."),
        "within noise": f"{signed(over)} points to random, within noise.",
    }.get(what, f"{signed(over).lstrip('+-−')} points {what} random.")
    return Verdict(row.method, text, what)


def signed(over: Interval) -> str:
    """A difference and its half-width.

    >>> signed(Interval(-1.04, 0.5)), signed(Interval(2.0, math.nan))
    ('−1.0 ± 0.5', '+2.0')
    """
    width = "" if math.isnan(over.half_width) else f" ± {over.half_width:.1f}"
    return f"{over.mean:+.1f}{width}".replace("-", "−")


def phrase(labels: str) -> str:
    """A choice of labels in words.

    >>> phrase("5%"), phrase("10 a class")
    ('5% of the labels', '10 labels a class')
    """
    return f"{labels} of the labels" if labels.endswith("%") else labels.replace(" ", " labels ", 1)


def _line(row: Row, text: list[str], *, alone: bool) -> Line:
    """`alone` as in `verdict`."""
    cells = [*text[:-2], *(cell.replace("-", "−") for cell in text[-2:])]
    how_sure = mark(row.over_random) if row.over_random else ""
    return Line(row.method, cells, how_sure if how_sure in UNSURE and not alone else "")


def _is_proposed(method: str) -> bool:
    return method in METHODS and METHODS[method].proposed


def _comparison(scores: Scores, labels: str, terms: str, hero: str) -> Comparison:
    header, *texts = table_rows(scores, labels)
    rows = scores.rows(labels)
    alone = bool(one_seed_note(scores, labels))
    lines = [_line(row, text, alone=alone) for row, text in zip(rows, texts, strict=True)]
    differing = [row for row in rows if row.over_random]
    verdicts = [found for row in rows if (found := verdict(row, alone=alone))]
    unsure = any(found.mark == "within noise" for found in verdicts)
    return Comparison(
        labels=phrase(labels) + f", {terms}" * bool(terms),
        header=header,
        lines=lines,
        notes=table_notes(scores, labels) + [_WITHIN_NOISE] * unsure,
        rows=rows,
        verdicts=verdicts,
        accuracy=_accuracy(scores, rows, labels, hero),
        difference=_difference(scores, differing, labels, hero) if differing else None,
    )


def _accuracy(scores: Scores, rows: list[Row], labels: str, hero: str) -> Markup:
    whiskers = [
        Whisker(
            row.method,
            row.accuracy,
            list(scores.by_seed(row.method, labels).values()),
            emphasis=row.method == hero,
        )
        for row in rows
    ]
    title = f"Accuracy by method with 95 % intervals, {phrase(labels)}"
    return intervals(whiskers, title=title, x="accuracy, per cent")


def _difference(scores: Scores, rows: list[Row], labels: str, hero: str) -> Markup:
    whiskers = []
    for row in rows:
        paired = scores.paired(row.method, REFERENCE, labels)
        assert row.over_random is not None
        whiskers.append(Whisker(row.method, row.over_random, paired, emphasis=row.method == hero))
    title = f"Paired difference to random with 95 % intervals, {phrase(labels)}"
    return intervals(whiskers, title=title, x="points over random", zero=True)
