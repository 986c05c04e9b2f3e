"""An ablation as tables, for a terminal and for Markdown."""

from collections.abc import Iterator

from rich.filesize import decimal as size_text

from decoct.evaluation.interval import Interval, mark
from decoct.report.table import columns, labels_phrase, markdown, markdown_text, resampled
from decoct.studies.ablation import Ablation, Line, Outcome

_HEADER = ("", "mean", "to own", "random", "over random", "loss", "seconds", "bytes")


def ablation_rows(ablation: Ablation, axis: str, labels: str) -> list[list[str]]:
    """Header and lines of one axis for one choice of labels; the recipe's own is marked (own)."""
    lines = ablation.lines(axis, labels)
    rows = [[axis, *_HEADER[1:]], *map(_row, lines)]
    if any(line.gap_recovered is not None for line in lines):
        gaps = ["" if x.gap_recovered is None else x.gap_recovered.share() for x in lines]
        for row, gap in zip(rows, ["gap recovered", *gaps], strict=True):
            row.insert(5, gap)
    return rows


def ablation_text(ablation: Ablation) -> str:
    """Every axis and choice of labels, in columns, with a legend."""
    parts = [f"{title}\n{columns(rows)}" for title, rows in _tables(ablation)]
    return "\n\n".join([*parts, ablation_legend(ablation)])


def ablation_markdown(ablation: Ablation) -> str:
    """As `ablation_text`, but in Markdown tables."""
    parts = [f"**{markdown_text(title)}**\n\n{markdown(rows)}" for title, rows in _tables(ablation)]
    return "\n\n".join([*parts, ablation_legend(ablation)])


def ablation_legend(ablation: Ablation) -> str:
    """The meaning of the numbers, in a few sentences."""
    seeds = len(ablation.seeds())
    return (
        f"(own): as in the recipe {ablation.name}; accuracy in per cent, mean over tasks and "
        f"{seeds} seed{'s' * (seeds != 1)} ± half the 95 % interval\n({resampled(seeds)}); to own, "
        "over random: differences in pairs\nof the same seed and labels, within noise if the "
        "interval includes zero (without any difference, one\ninterval in twenty excludes zero by "
        "chance); random: the same number of real images with the same\nteacher's targets; loss of "
        "matching: means over the first and last twentieth of the iterations;\nseconds: to distil "
        "a set; bytes: of a set, with all that training on it needs"
    )


def _tables(ablation: Ablation) -> Iterator[tuple[str, list[list[str]]]]:
    for axis in ablation.axes():
        for labels in ablation.labels():
            title = f"{axis}: {ablation.what.get(axis, axis)}; {labels_phrase(labels)}"
            yield title, ablation_rows(ablation, axis, labels)


def _row(line: Line) -> list[str]:
    outcome = line.outcome
    return [
        outcome_name(outcome),
        str(line.accuracy),
        "" if outcome.base else _difference(line.against_base),
        str(line.random),
        _difference(line.against_random),
        " to ".join(f"{loss:.3f}" for loss in outcome.loss or ()),
        f"{outcome.seconds:.0f}",
        size_text(outcome.bytes) if outcome.bytes else "",
    ]


def outcome_name(outcome: Outcome) -> str:
    """An axis's value, marked if it is the recipe's own."""
    return f"{outcome.value} (own)" if outcome.base else outcome.value


def _difference(over: Interval) -> str:
    """A difference, with a remark if it may be noise.

    >>> _difference(Interval(1.0, 0.4)), _difference(Interval(1.0, 1.4))
    ('+1.0 ± 0.4', '+1.0 ± 1.4, within noise')
    """
    how_sure = mark(over)
    return over.signed() if how_sure in ("above", "below") else f"{over.signed()}, {how_sure}"
