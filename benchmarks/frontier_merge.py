"""Join frontiers that were measured in parts: on several machines, or with several searches.

    python benchmarks/frontier_merge.py FRONTIER [FRONTIER ...] --into FOLDER

Each is a frontier.json. Where two have measured one place, the rule with the lower error on held-out
images stays, and of the same rule the one with more seeds. `decoct frontier` can go on from the result.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from decoct.studies.frontier.cells import Cell, Frontier


def merged(frontiers: list[Frontier]) -> Frontier:
    """One frontier with every place of all, and every trial."""
    by_place: dict[object, dict[str, Cell]] = {}
    for cell in (cell for frontier in frontiers for cell in frontier.cells):
        optimisers = by_place.setdefault(cell.place, {})
        old = optimisers.get(cell.optimiser)
        if old is None or _rank(cell) < _rank(old):
            optimisers[cell.optimiser] = cell
    trials = {key: error for f in frontiers for key, error in f.trials.items()}
    cells = (cell for optimisers in by_place.values() for cell in _kept(optimisers.values()))
    return Frontier(frontiers[0].name, tuple(cells), trials)


def _rank(cell: Cell) -> tuple[float, int]:
    return cell.error, -len(cell.keys)


def _kept(cells: Iterable[Cell]) -> Iterable[Cell]:
    """The best of one place; at a method's own length, the best by each optimiser."""
    first, *others = sorted(cells, key=_rank)
    yield replace(first, best=True)
    if first.axis == "own":
        yield from (replace(cell, best=False) for cell in others)


def main() -> None:
    """Write the joined frontier.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("frontiers", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, required=True, help="the folder of the joined file")
    arguments = parser.parse_args()
    found = merged([Frontier.load(file) for file in arguments.frontiers])
    arguments.into.mkdir(parents=True, exist_ok=True)
    found.save(arguments.into / "frontier.json")
    print(f"{len(found.cells)} cells in {arguments.into / 'frontier.json'}")


if __name__ == "__main__":
    main()
