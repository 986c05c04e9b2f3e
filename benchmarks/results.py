"""A finished comparison as the Markdown tables of docs/results.md.

python benchmarks/results.py RUN [--labels 5%,20%]
"""

import argparse
from pathlib import Path

from decoct.core import storage
from decoct.evaluation.scores import Scores
from decoct.report.costs import cost_rows, costs
from decoct.report.table import (
    labels_phrase,
    legend,
    margin_rows,
    markdown,
    summary_rows,
    table_rows,
)
from decoct.studies.tune import Tuning, tuning_rows

_SUMMARIES = ("accuracy", "over random", "gap recovered")


def comparison(
    scores: Scores, seconds: dict[str, float], inputs: dict[str, list[str]], labels: list[str]
) -> str:
    """Means over tasks, then tasks at a few choices of labels; on equal steps, on equal epochs."""
    parts = []
    for name, part in scores.terms():
        if name:
            parts.append(f"#### On {name}")
        parts += [markdown(summary_rows(part, what)) for what in _SUMMARIES]
        ours = next((m for m in ("views", "mkdt") if m in part.facts), None)
        if ours:
            parts.append(markdown(margin_rows(part, ours)))
        for choice in (choice for choice in part.labels() if choice in labels):
            parts.append(f"By task, {labels_phrase(choice)}:")
            parts.append(markdown(table_rows(part, choice)))
    parts += [legend(scores).replace("\n", " "), "#### What each costs"]
    parts.append(markdown(cost_rows(costs(scores, seconds, inputs))))
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables of a run's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--labels", default="5%,20%", help="whose tasks are shown one by one")
    arguments = parser.parse_args()
    folder: Path = arguments.run
    run = storage.load_json(folder / "run.json", kind="run")
    scores, labels = Scores.load(folder / "scores.json"), arguments.labels.split(",")
    print(comparison(scores, run["seconds"], run.get("inputs", {}), labels))
    if (folder / "tuning.json").exists():
        print("\n#### Tuned on the pool\n")
        print(markdown(tuning_rows(Tuning.load(folder / "tuning.json"))))


if __name__ == "__main__":
    main()
