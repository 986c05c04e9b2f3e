"""Print the tables of a comparison, a tuning or a frontier, or write them into docs/results.

    python benchmarks/results.py RUN                              print all tables
    python benchmarks/results.py RUN --into docs/results/main.md  replace a page's tables

A page marks each table with a line `<!-- table: NAME -->` before it; `--names` lists the names.
"""

import argparse
import re
from pathlib import Path

from decoct.core import atomic, storage
from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.report.costs import cost_rows, costs
from decoct.report.frontier import frontier_tables
from decoct.report.table import (
    detectable_note,
    labels_phrase,
    legend,
    margin_rows,
    markdown,
    summary_rows,
    table_rows,
)
from decoct.studies.frontier.cells import Frontier
from decoct.studies.tune import Tuning, tuning_rows

_SUMMARIES = ("accuracy", "over random", "gap recovered")
_MARKED = re.compile(r"(<!-- table: (.+?) -->\n\n)(?:\|.*\n)*(?:\nSmallest detectable .*\n)?")


def tables(folder: Path) -> dict[str, str]:
    """The tables of a run's folder as Markdown, by name; of what was measured in it."""
    found: dict[str, str] = {}
    if (folder / "scores.json").exists():
        found |= _compared(folder)
    if (folder / "tuning.json").exists():
        found["tuning"] = markdown(tuning_rows(Tuning.load(folder / "tuning.json")))
    if (folder / "frontier.json").exists():
        frontier = Frontier.load(folder / "frontier.json")
        found |= {name: markdown(rows) for name, rows in frontier_tables(frontier).items()}
    if not found:
        raise SystemExit(f"{folder} has no scores.json, tuning.json or frontier.json")
    return found


def _compared(folder: Path) -> dict[str, str]:
    """The tables of a comparison."""
    run = storage.load_json(folder / "run.json", kind="run")
    scores = Scores.load(folder / "scores.json")
    found = {}
    for terms, part in scores.terms():
        on = f", {terms}" * bool(terms)
        for what in _SUMMARIES:
            found[f"{what}{on}"] = markdown(summary_rows(part, what))
        for method in (m for m in part.facts if METHODS[m].proposed):
            found[f"{method} over{on}"] = markdown(margin_rows(part, method))
        for labels in part.labels():
            note = detectable_note(part, labels).capitalize()
            found[f"{labels_phrase(labels)}{on}"] = markdown(
                table_rows(part, labels)
            ) + f"\n\n{note}." * bool(note)
    priced = costs(scores, run["seconds"], run.get("inputs", {}))
    found["costs"] = markdown(cost_rows(priced))
    return found


def with_tables(page: str, found: dict[str, str]) -> str:
    """A page with the table after each mark replaced by the run's table of that name.

    >>> print(with_tables("<!-- table: costs -->\\n\\n| old |\\n", {"costs": "| new |"}))
    <!-- table: costs -->
    <BLANKLINE>
    | new |
    <BLANKLINE>
    """

    def replaced(match: re.Match[str]) -> str:
        if match[2] not in found:
            raise SystemExit(f"this run has no table {match[2]!r}; it has {', '.join(found)}")
        return f"{match[1]}{found[match[2]]}\n"

    return _MARKED.sub(replaced, page)


def main() -> None:
    """Print the tables of a run's folder, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--into", type=Path, help="the page whose marked tables are replaced")
    parser.add_argument("--names", action="store_true", help="list the names of the tables")
    arguments = parser.parse_args()
    found = tables(arguments.run)
    if arguments.names:
        print("\n".join(found))
    elif arguments.into:
        page = with_tables(arguments.into.read_text("utf-8"), found)
        atomic.write_text(arguments.into, page)
        print(f"wrote the tables of {arguments.run} into {arguments.into}")
    else:
        for name, table in found.items():
            print(f"#### {name[:1].upper()}{name[1:]}\n\n{table}\n")
        scores = arguments.run / "scores.json"
        if scores.exists():
            print(legend(Scores.load(scores)).replace("\n", " "))


if __name__ == "__main__":
    main()
