"""Join frontiers that were measured in parts: on several machines, or with several searches.

    python benchmarks/frontier_merge.py FRONTIER [FRONTIER ...] --into FOLDER [--seeds 3]
        [--without METHOD ...]

Each is a frontier.json. Places with fewer seeds than asked for are left out. Where two have
measured one place, the rule with the lower error on held-out images stays, to two digits; of equal
ones, the cell with more seeds. `decoct frontier` can go on from the result.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from decoct.studies.frontier.cells import Cell, Frontier


def merged(frontiers: list[Frontier], *, seeds: int = 1, without: Iterable[str] = ()) -> Frontier:
    """One frontier with every place of all, but for some methods', and every trial."""
    by_rule: dict[object, Cell] = {}
    cells = (cell for frontier in frontiers for cell in frontier.cells)
    for cell in (cell for cell in cells if cell.method not in without):
        rule = (cell.place, cell.optimiser, cell.lr_factor, cell.batch)
        if len(cell.keys) >= max(seeds, 1 + _seeds(by_rule.get(rule))):
            by_rule[rule] = cell
    by_place: dict[object, list[Cell]] = {}
    for cell in by_rule.values():
        by_place.setdefault(cell.place, []).append(cell)
    trials = {key: error for f in frontiers for key, error in f.trials.items()}
    kept = (cell for cells in by_place.values() for cell in _kept(cells))
    return Frontier(frontiers[0].name, tuple(kept), trials)


def _rank(cell: Cell) -> tuple[float, int, float]:
    return round(cell.error, 2), -_seeds(cell), cell.error


def _seeds(cell: Cell | None) -> int:
    return len(cell.keys) if cell else 0


def _kept(cells: list[Cell]) -> Iterable[Cell]:
    """The best of one place; at a method's own length, the best by each optimiser."""
    best, *others = sorted(cells, key=_rank)
    yield replace(best, best=True)
    if best.axis == "own":
        of_each = {cell.optimiser: cell for cell in reversed(others)}
        of_each.pop(best.optimiser, None)
        yield from (replace(cell, best=False) for cell in of_each.values())


def main() -> None:
    """Write the joined frontier.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("frontiers", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, required=True, help="the folder of the joined file")
    parser.add_argument("--seeds", type=int, default=1, help="the fewest that a place must have")
    parser.add_argument("--without", nargs="+", default=(), help="methods to leave out")
    arguments = parser.parse_args()
    found = merged(
        [Frontier.load(file) for file in arguments.frontiers],
        seeds=arguments.seeds,
        without=arguments.without,
    )
    arguments.into.mkdir(parents=True, exist_ok=True)
    found.save(arguments.into / "frontier.json")
    print(f"{len(found.cells)} cells in {arguments.into / 'frontier.json'}")


if __name__ == "__main__":
    main()
