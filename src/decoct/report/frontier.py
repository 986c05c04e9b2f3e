"""The frontier as tables and plots: accuracy over gradient steps, and over bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from rich.filesize import decimal as size_text

from decoct.core.bytes import bytes_of
from decoct.evaluation.scores import REFERENCE
from decoct.report.plots import Point, rising
from decoct.studies.frontier.cells import Cell, Frontier, accuracy, difference


@dataclass(frozen=True)
class FrontierPanel:
    """One axis for one network."""

    title: str
    plot: Markup
    rows: list[list[str]]


def panels(frontier: Frontier) -> Iterator[FrontierPanel]:
    """A plot and a table for each network and axis."""
    for network in frontier.networks():
        for axis, at, what in axes(frontier, network):
            title = f"{network}: accuracy over {what}"
            plot = frontier_plot(frontier, network, axis, at=at, title=title)
            yield FrontierPanel(title, plot, frontier_rows(frontier, network, axis, at=at))


def axes(frontier: Frontier, network: str) -> Iterator[tuple[str, int | None, str]]:
    """What is varied for a network: the axis, at how many steps if it is not these, its name."""
    if any(frontier.line(m, network, "steps") for m in frontier.methods()):
        yield "steps", None, "gradient steps"
    for at in frontier.lengths(network):
        yield "bytes", at, f"bytes at {at:,} steps"


def frontier_plot(
    frontier: Frontier, network: str, axis: str, *, at: int | None = None, title: str
) -> Markup:
    """A line for each method along one axis; a level for each that takes no steps."""
    series = {
        method: [_point(cell, axis) for cell in line]
        for method in frontier.methods()
        if (line := frontier.line(method, network, axis, at=at))
    }
    levels = {cell.method: accuracy(cell).mean for cell in _without_steps(frontier, network)}
    what = "gradient steps" if axis == "steps" else "MB that the set may take"
    return rising(series, levels=levels, title=title, x=what, y="accuracy, %")


def _point(cell: Cell, axis: str) -> Point:
    found = accuracy(cell)
    x = cell.steps if axis == "steps" else bytes_of(cell.budget) / 1e6
    return Point(x, found.mean, found.mean - found.half_width, found.mean + found.half_width)


def _without_steps(frontier: Frontier, network: str) -> list[Cell]:
    own = (cell for method in frontier.methods() for cell in frontier.line(method, network, "own"))
    return [cell for cell in own if not cell.steps]


def frontier_rows(
    frontier: Frontier, network: str, axis: str, *, at: int | None = None
) -> list[list[str]]:
    """Header and one line for each method: the accuracy at each budget."""
    lines = {m: frontier.line(m, network, axis, at=at) for m in frontier.methods()}
    lines = {method: line for method, line in lines.items() if line}
    budgets = list(dict.fromkeys(cell.budget for line in lines.values() for cell in line))
    by_size = axis == "bytes"
    shown = budgets if by_size else [f"{int(steps):,} steps" for steps in budgets]
    rows = [["method", *([] if by_size else ["bytes"]), *shown]]
    for method, line in lines.items():
        cells = {cell.budget: str(accuracy(cell)) for cell in line}
        size = [] if by_size else [size_text(line[0].bytes)]
        rows.append([method, *size, *(cells.get(budget, "") for budget in budgets)])
    return rows


def cell_rows(frontier: Frontier, network: str) -> list[list[str]]:
    """Header and one line for each cell: what it took, its rule, and the two gaps."""
    header = ["method", "bytes", "steps", "rule", "error", "accuracy", "over random"]
    rows = [[*header, "published gap", "strict gap"]]
    reference = {c.budget: c for c in frontier.line(REFERENCE, network, "steps")}
    for axis in ("own", "steps", "bytes"):
        for method in frontier.methods():
            for cell in frontier.line(method, network, axis):
                rows.append(_cell_row(frontier, cell, reference.get(str(cell.steps))))
    return rows


def _cell_row(frontier: Frontier, cell: Cell, reference: Cell | None) -> list[str]:
    gaps = [frontier.gap(cell, rule=rule) for rule in ("published", "strict")]
    over = difference(cell, reference) if reference and cell.method != REFERENCE else None
    return [
        cell.method,
        size_text(cell.bytes) if cell.bytes else "",
        f"{cell.steps:,}",
        _rule_text(cell),
        f"{cell.error:.3f}",
        str(accuracy(cell)),
        over.signed() if over else "",
        *("" if gap is None else gap.share() for gap in gaps),
    ]


def _rule_text(cell: Cell) -> str:
    if cell.optimiser == "own":
        return ""
    of = f", {cell.batch} a step" if cell.batch else ""
    return f"{cell.optimiser} x {cell.lr_factor:g}{of}"


def frontier_tables(frontier: Frontier) -> dict[str, Sequence[Sequence[str]]]:
    """All tables by name."""
    found: dict[str, Sequence[Sequence[str]]] = {}
    for network in frontier.networks():
        for axis, at, what in axes(frontier, network):
            found[f"{network}, {what}"] = frontier_rows(frontier, network, axis, at=at)
        found[f"{network}, every place"] = cell_rows(frontier, network)
    return found
