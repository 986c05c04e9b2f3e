"""The comparison as tables, for a terminal and for Markdown."""

import math
import re
import statistics
import textwrap
from collections.abc import Iterable, Sequence

from decoct.core.printable import one_line
from decoct.evaluation.interval import Interval, mark
from decoct.evaluation.scores import ALL, REFERENCE, UPPER, Row, Scores
from decoct.report.weak_teacher import weak_teacher

STOPPED = "Stopped early, because the loss was no longer finite"
_COLUMNS = ("method", "images", "steps", "mean", "over random", "gap recovered")
_LINE = 100  # characters
_DETECTABLE = "smallest detectable"
_BRIEF = {"within noise": "~", "one seed": "?", "above": "", "below": ""}


def table_rows(scores: Scores, labels: str) -> list[list[str]]:
    """Header and lines for one choice of labels, as text."""
    tasks = scores.tasks()
    rows = [[*_COLUMNS[:3], *tasks, *_COLUMNS[3:]]]
    for row in scores.rows(labels):
        facts = scores.facts.get(row.method, {})
        over, gap = row.over_random, row.gap_recovered
        signed = "" if over is None else over.signed()
        rows.append(
            [
                row.method,
                str(facts.get("images", "")),
                str(facts.get("steps", "")),
                *(str(row.by_task.get(task, "")) for task in tasks),
                str(row.accuracy),
                signed,
                "" if gap is None else gap.share(),
            ]
        )
    return rows


def summary_rows(scores: Scores, what: str = "over random") -> list[list[str]]:
    """Header and one line per method: one quantity for each choice of labels and for their mean.

    `what` is "accuracy", "over random" (the paired difference) or "gap recovered", averaged over
    tasks. ~ marks a difference that may be noise (its 95 % interval includes zero), ? one from a
    single seed. Below differences stands what each column could have detected.
    """
    labels = _choices(scores)
    rows = [[what, *(choice or ALL for choice in labels)]]
    found = list(zip(*map(scores.rows, labels), strict=True))
    for line in found:
        cells = [_cell(row, what) for row in line]
        if all(cells):
            rows.append([line[0].method, *cells])
    if what == "over random":
        rows += _detectable_row([[row.over_random for row in line] for line in found])
    return rows


def margin_rows(scores: Scores, method: str) -> list[list[str]]:
    """Header and one line for each other method: how far `method` exceeds it, in pairs.

    Below stands what each column could have detected.
    """
    labels = _choices(scores)
    rows, margins = [[f"{method} over", *(choice or ALL for choice in labels)]], []
    for other in (m for m in _methods(scores) if m != method):
        found = [scores.over(method, other, choice) for choice in labels]
        margins.append(found)
        if all(found):
            rows.append([other, *(f"{m.signed()}{_BRIEF[mark(m)]}" for m in found if m)])
    return rows + _detectable_row(margins)


def detectable(differences: Iterable[Interval | None]) -> str:
    """The smallest difference that comparisons could have detected (their median), as text.

    >>> detectable([Interval(1.0, 0.8, 1.2), Interval(4.0, 1.0, 1.5), Interval(9.0, 3.0, 4.4)])
    '1.5'
    """
    found = [d.detectable for d in differences if d and not d.one_seed]
    known = [size for size in found if not math.isnan(size)]
    return f"{statistics.median(known):.1f}" if known else ""


def detectable_note(scores: Scores, labels: str) -> str:
    """What a table for one choice of labels could have detected, as a line; empty for one seed."""
    others = (m for m in _methods(scores) if m != REFERENCE)
    size = detectable(scores.over(method, REFERENCE, labels) for method in others)
    return f"{_DETECTABLE} difference to random: {size} points" if size else ""


def gap_note(scores: Scores, labels: str) -> str:
    """Why a table gives no gap recovered, as a line; empty if it gives one.

    >>> from decoct.evaluation.scores import Score
    >>> found = {"random": 40.0, "carried": 42.0}
    >>> scores = Scores(tuple(Score(m, 0, "emoji", "5%", 0, a) for m, a in found.items()))
    >>> gap_note(scores, "5%")
    'gap recovered is blank, because full was not run'
    """
    methods = _methods(scores)
    others = [row for row in scores.rows(labels) if row.method not in (REFERENCE, UPPER)]
    if not others or any(row.gap_recovered for row in others):
        return ""
    missing = [method for method in (REFERENCE, UPPER) if method not in methods]
    if missing:
        why = f"{' and '.join(missing)} {'were' if len(missing) > 1 else 'was'} not run"
    else:
        why = f"{UPPER} is not surely above {REFERENCE}, so there is no gap"
    return f"gap recovered is blank, because {why}"


def one_seed_note(scores: Scores, labels: str) -> str:
    """That a whole table of differences comes from one seed, as a line; empty if it does not."""
    found = [row.over_random for row in scores.rows(labels) if row.over_random]
    alone = found and all(mark(over) == "one seed" for over in found)
    return "differences come from one seed: they may be noise" if alone else ""


def table_notes(scores: Scores, labels: str) -> list[str]:
    """What to know about a table, each once: lines to write below it."""
    found = (detectable_note, gap_note, one_seed_note)
    return [said for note in found if (said := note(scores, labels))]


def _detectable_row(lines: Sequence[Sequence[Interval | None]]) -> list[list[str]]:
    """One row under a table of differences, or none if no size is known."""
    cells = [detectable(column) for column in zip(*lines, strict=True)]
    return [[_DETECTABLE, *cells]] if any(cells) else []


def _methods(scores: Scores) -> list[str]:
    return list(dict.fromkeys(s.method for s in scores.scores))


def _choices(scores: Scores) -> list[str | None]:
    """The choices of labels, and None for their mean if there are several."""
    labels: list[str | None] = [*scores.labels()]
    return [*labels, None] if len(labels) > 1 else labels


def _cell(row: Row, what: str) -> str:
    if what == "accuracy":
        return str(row.accuracy)
    if what == "gap recovered":
        return "" if row.gap_recovered is None else row.gap_recovered.share()
    over = row.over_random
    return "" if over is None else f"{over.signed()}{_BRIEF[mark(over)]}"


def text_table(scores: Scores, method: str = REFERENCE) -> str:
    """Every choice of labels, in columns, and a summary of the differences to random.

    Unless it is `random`, also of the differences between `method`, the run's own, and the others.
    """
    parts = []
    for name, part in scores.terms():
        for labels in part.labels():
            title = labels_phrase(labels) + f", {name}" * bool(name)
            table = columns(table_rows(part, labels))
            parts.append("\n".join([title, table, *table_notes(part, labels)]))
    for name, part in scores.terms():
        rows = summary_rows(part)
        if len(rows) > 1 and len(part.labels()) > 1:
            title = "difference to random, mean over tasks" + f", {name}" * bool(name)
            parts.append(f"{title} (~ within noise)\n{columns(rows)}")
        others = set(_methods(part)) - {method, REFERENCE}
        if method != REFERENCE and method in _methods(part) and others:
            title = f"{method} over the others, mean over tasks" + f", {name}" * bool(name)
            parts.append(f"{title} (~ within noise)\n{columns(margin_rows(part, method))}")
    weak = textwrap.fill(weak_teacher(scores), _LINE)
    return "\n\n".join(filter(None, [*parts, legend(scores), weak]))


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, aligned.

    >>> print(columns([["a", "b"], ["long", "c"]]))
    a     b
    long  c
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def labels_phrase(labels: str) -> str:
    """A choice of labels in words.

    >>> labels_phrase("5%"), labels_phrase("10 a class")
    ('5% of the labels', '10 labels a class')
    """
    count, _, unit = labels.partition(" ")
    return f"{count} labels {unit}" if unit else f"{labels} of the labels"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Header and lines as a Markdown table.

    >>> print(markdown([["a", "b"], ["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    header, *lines = ([markdown_text(cell) for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines])


def markdown_text(text: str) -> str:
    r"""Text as one line of Markdown that shows it as it is, whoever wrote it.

    >>> print(markdown_text("<b>a_b</b>\n# c | d"))
    \<b\>a\_b\</b\> \# c \| d
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", one_line(" ".join(text.split())))


def legend(scores: Scores) -> str:
    """The meaning of the numbers, in a sentence or two."""
    seeds = len({s.seed for s in scores.scores})
    return (
        f"accuracy in per cent, mean over {seeds} seed{'s' * (seeds > 1)} ± half the 95 % interval "
        f"({resampled(seeds)});\nover random: in pairs of the same seed and labels; gap recovered: "
        "(method - random) / (full - random) on the mean\nover tasks, where full is surely above "
        "random; smallest detectable: a true difference of this size is found four times\nin five "
        f"(median over methods){_stopped(scores)}"
    )


def _stopped(scores: Scores) -> str:
    """Which sets were not learnt to the end."""
    sets = [
        f"{method}'s set of {where}"
        for method, facts in scores.facts.items()
        for where in facts.get("stopped", ())
    ]
    return f"; {STOPPED[0].lower()}{STOPPED[1:]}: {', '.join(sets)}" if sets else ""


def resampled(seeds: int) -> str:
    """What the intervals come from, in words.

    >>> resampled(3)
    'bootstrap of seeds and, in each, of the draws of labels'
    """
    if seeds == 1:
        return "bootstrap of the draws of labels; other seeds would differ more"
    return "bootstrap of seeds and, in each, of the draws of labels"
