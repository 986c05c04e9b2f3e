"""The comparison as tables, for a terminal and for Markdown."""

from collections.abc import Sequence

from decoct.evaluation.scores import ALL, Interval, Row, Scores, mark

_COLUMNS = ("method", "images", "steps", "mean", "over random", "gap recovered")
_BRIEF = {"within noise": "~", "one seed": "?", "above": "", "below": ""}


def table_rows(scores: Scores, labels: str) -> list[list[str]]:
    """Header and lines for one choice of labels, as text."""
    tasks = scores.tasks()
    rows = [[*_COLUMNS[:3], *tasks, *_COLUMNS[3:]]]
    for row in scores.table():
        if row.labels != labels:
            continue
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
    single seed.
    """
    labels = _choices(scores)
    rows = [[what, *(choice or ALL for choice in labels)]]
    for method in dict.fromkeys(s.method for s in scores.scores):
        cells = [_cell(scores.row(method, choice), what) for choice in labels]
        if all(cells):
            rows.append([method, *cells])
    return rows


def margin_rows(scores: Scores, method: str) -> list[list[str]]:
    """Header and one line for each other method: how far `method` exceeds it, paired by seed."""
    labels = _choices(scores)
    rows = [[f"{method} over", *(choice or ALL for choice in labels)]]
    for other in dict.fromkeys(s.method for s in scores.scores if s.method != method):
        found = [scores.paired(method, other, choice) for choice in labels]
        if all(found):
            margins = map(Interval.of, found)
            rows.append([other, *(f"{m.signed()}{_BRIEF[mark(m)]}" for m in margins)])
    return rows


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


def text_table(scores: Scores) -> str:
    """Every choice of labels, in columns, and a summary of the differences to random."""
    parts = []
    for name, part in scores.terms():
        for labels in part.labels():
            title = labels_phrase(labels) + f", {name}" * bool(name)
            parts.append(f"{title}\n{columns(table_rows(part, labels))}")
    for name, part in scores.terms():
        rows = summary_rows(part)
        if len(rows) > 1 and len(part.labels()) > 1:
            title = "difference to random, mean over tasks" + f", {name}" * bool(name)
            parts.append(f"{title} (~ within noise)\n{columns(rows)}")
    return "\n\n".join(parts) + f"\n\n{legend(scores)}"


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
    header, *lines = rows
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines])


def legend(scores: Scores) -> str:
    """The meaning of the numbers, in a sentence or two."""
    seeds = len({s.seed for s in scores.scores})
    return (
        f"accuracy in per cent, mean over {seeds} seed{'s' * (seeds > 1)} ± half the 95 % interval "
        "(Student's t);\nover random: paired by seed; gap recovered: (method - random) / "
        "(full - random) on the mean over tasks"
    )
