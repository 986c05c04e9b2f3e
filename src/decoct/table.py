"""The comparison as a table, for a terminal and for Markdown."""

from decoct.scores import Scores

_COLUMNS = ("method", "images", "steps", "mean", "over random", "gap recovered")


def table_rows(scores: Scores, labels: str) -> list[list[str]]:
    """Header and lines at one choice of labels, as text."""
    tasks = scores.tasks()
    rows = [[*_COLUMNS[:3], *tasks, *_COLUMNS[3:]]]
    for row in scores.table():
        if row.labels != labels:
            continue
        facts = scores.facts.get(row.method, {})
        over, gap = row.over_random, row.gap_recovered
        signed = "" if over is None else over.signed()
        rows.append([
            row.method, str(facts.get("images", "")), str(facts.get("steps", "")),
            *(str(row.by_task.get(task, "")) for task in tasks), str(row.accuracy), signed,
            "" if gap is None else f"{gap:.2f}",
        ])  # fmt: skip
    return rows


def text_table(scores: Scores) -> str:
    """Every choice of labels, in columns, with what the numbers are."""
    parts = []
    for labels in scores.labels():
        rows = table_rows(scores, labels)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        parts.append(f"{labels_phrase(labels)}\n" + "\n".join(line.rstrip() for line in lines))
    return "\n\n".join(parts) + f"\n\n{legend(scores)}"


def labels_phrase(labels: str) -> str:
    """A choice of labels in words.

    >>> labels_phrase("5%"), labels_phrase("10 a class")
    ('5% of the labels', '10 labels a class')
    """
    count, _, unit = labels.partition(" ")
    return f"{count} labels {unit}" if unit else f"{labels} of the labels"


def markdown_table(scores: Scores, labels: str) -> str:
    """One choice of labels as a Markdown table."""
    header, *rows = table_rows(scores, labels)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def legend(scores: Scores) -> str:
    """What the numbers mean, in a sentence or two."""
    seeds = len({s.seed for s in scores.scores})
    return (
        f"accuracy in per cent, mean over {seeds} seed{'s' * (seeds > 1)} ± half the 95 % interval "
        "(Student's t);\nover random: paired by seed; gap recovered: (method - random) / "
        "(full - random) on the mean over tasks"
    )
