"""Join frontiers that were measured in parts: on several machines, or with several searches.

    python benchmarks/frontier_merge.py FRONTIER [FRONTIER ...] --into FOLDER [--seeds 3]

Each is a frontier.json. Places with fewer seeds than asked for are left out. Where two have
measured one place, the rule with the lower error on held-out images stays; of one rule, the cell
with more seeds. `decoct frontier` can go on from the result.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from decoct.studies.frontier.cells import Cell, Frontier


def merged(frontiers: list[Frontier], *, seeds: int = 1) -> Frontier:
    """One frontier with every place of all, and every trial."""
    by_rule: dict[object, Cell] = {}
    for cell in (cell for frontier in frontiers for cell in frontier.cells):
        rule = (cell.place, cell.optimiser, cell.lr_factor, cell.batch)
        if len(cell.keys) >= max(seeds, 1 + _seeds(by_rule.get(rule))):
            by_rule[rule] = cell
    by_place: dict[object, list[Cell]] = {}
    for cell in by_rule.values():
        by_place.setdefault(cell.place, []).append(cell)
    trials = {key: error for f in frontiers for key, error in f.trials.items()}
    kept = (cell for cells in by_place.values() for cell in _kept(cells))
    return Frontier(frontiers[0].name, tuple(kept), trials)


def _seeds(cell: Cell | None) -> int:
    return len(cell.keys) if cell else 0


def _kept(cells: list[Cell]) -> Iterable[Cell]:
    """The best of one place; at a method's own length, the best by each optimiser."""
    best, *others = sorted(cells, key=lambda cell: cell.error)
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
    arguments = parser.parse_args()
    found = merged([Frontier.load(file) for file in arguments.frontiers], seeds=arguments.seeds)
    arguments.into.mkdir(parents=True, exist_ok=True)
    found.save(arguments.into / "frontier.json")
    print(f"{len(found.cells)} cells in {arguments.into / 'frontier.json'}")


if __name__ == "__main__":
    main()
