"""The results of an ablation axis by axis, as rows and plots."""

from dataclasses import dataclass

from markupsafe import Markup

from decoct.evaluation.scores import REFERENCE
from decoct.report.ablation_table import ablation_rows, outcome_name
from decoct.report.plots import Whisker, intervals
from decoct.report.table import labels_phrase
from decoct.studies.ablation import Ablation

# If the set or its source differs, only random with the same change shows what mkdt adds.
_OVER_RANDOM = ("size", "teacher")


@dataclass(frozen=True)
class Panel:
    """One axis for one choice of labels."""

    labels: str
    plot: Markup
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class AxisSection:
    """One axis."""

    name: str
    what: str
    panels: list[Panel]


def axis_sections(ablation: Ablation) -> list[AxisSection]:
    """One section for each axis, in order."""
    return [
        AxisSection(
            name=axis,
            what=ablation.what.get(axis, axis),
            panels=[_panel(ablation, axis, labels) for labels in ablation.labels()],
        )
        for axis in ablation.axes()
    ]


def _panel(ablation: Ablation, axis: str, labels: str) -> Panel:
    whiskers = []
    for line in ablation.lines(axis, labels):
        points, over = line.to_base, line.against_base
        if axis in _OVER_RANDOM:
            points, over = line.over_random, line.against_random
        name, emphasis = outcome_name(line.outcome), line.outcome.base
        whiskers.append(Whisker(name, over, points, emphasis=emphasis))
    phrase, against = labels_phrase(labels), REFERENCE if axis in _OVER_RANDOM else "the recipe"
    title = f"{axis}: paired difference to {against} with 95 % intervals, {phrase}"
    header, *rows = ablation_rows(ablation, axis, labels)
    return Panel(
        labels=phrase,
        header=header,
        plot=intervals(whiskers, title=title, x=f"points to {against}", zero=True),
        rows=[[row[0], *(cell.replace("-", "−") for cell in row[1:])] for row in rows],
    )
