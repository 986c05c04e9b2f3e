"""Paired differences between methods at the same places of a frontier.

    python benchmarks/frontier_differences.py FOLDER METHOD OTHER [OTHER ...] [--bytes 1.2MB]

FOLDER holds a frontier.json. Each method has its best rule at each place. With `--bytes`, METHOD's
sets take so many bytes; otherwise, and for the others, they have the recipe's size.
"""

import argparse
from pathlib import Path

from decoct.report.table import markdown
from decoct.studies.frontier.cells import Frontier, difference


def difference_rows(
    frontier: Frontier, method: str, others: list[str], budget: str | None = None
) -> list[list[str]]:
    """Header and one line for each place of `method`: how far it exceeds each of the others."""
    rows = [["network", "steps", *(f"{method} - {other}" for other in others)]]
    for network in frontier.networks():
        lines = {
            name: {cell.steps: cell for cell in frontier.line(name, network, "steps")}
            for name in (method, *others)
        }
        if budget:
            own = frontier.line(method, network, "bytes")
            lines[method] = {cell.steps: cell for cell in own if cell.budget == budget}
        for steps, cell in lines[method].items():
            found = (lines[other].get(steps) for other in others)
            cells = (difference(cell, other).signed() if other else "" for other in found)
            rows.append([network, f"{steps:,}", *cells])
    return rows


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("method")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--bytes")
    arguments = parser.parse_args()
    frontier = Frontier.load(arguments.folder / "frontier.json")
    rows = difference_rows(frontier, arguments.method, arguments.others, arguments.bytes)
    print(markdown(rows))


if __name__ == "__main__":
    main()
