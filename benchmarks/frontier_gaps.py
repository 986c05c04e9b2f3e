"""The places of one frontier between the ends of another: with other batches, for example.

    python benchmarks/frontier_gaps.py ENDS PLACES

ENDS and PLACES are folders with a frontier.json; both gaps have the ends of the first.
"""

import argparse
from pathlib import Path

from rich.filesize import decimal as size_text

from decoct.report.table import markdown
from decoct.studies.frontier.cells import Frontier, accuracy


def gap_rows(ends: Frontier, places: Frontier) -> list[list[str]]:
    """Header and one line for each place."""
    rows = [["method", "bytes", "steps", "error", "accuracy", "published gap", "strict gap"]]
    for cell in places.cells:
        gaps = [ends.gap(cell, rule=rule) for rule in ("published", "strict")]
        rows.append(
            [
                cell.method,
                size_text(cell.bytes),
                f"{cell.steps:,}",
                f"{cell.error:.3f}",
                str(accuracy(cell)),
                *("" if gap is None else gap.share() for gap in gaps),
            ]
        )
    return rows


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ends", type=Path)
    parser.add_argument("places", type=Path)
    arguments = parser.parse_args()
    ends, places = (
        Frontier.load(folder / "frontier.json") for folder in (arguments.ends, arguments.places)
    )
    print(markdown(gap_rows(ends, places)))


if __name__ == "__main__":
    main()
