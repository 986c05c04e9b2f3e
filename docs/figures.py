"""Draw the figures of docs: the frontier, from its file, and one from the tables of main.md.

python docs/figures.py
"""

import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from decoct.studies.frontier.cells import Frontier, accuracy

DOCS = Path(__file__).parent
FRONTIER = DOCS.parent / "benchmarks" / "emoji" / "frontier.json"
STEPS = {"views": "3,840 steps", "full": "5,400 steps"}  # the others: 120, or none
NAMES = {"none": "no pre-training", "full": "all 16,992 images"}


def means_over_random() -> dict[str, tuple[float, float]]:
    """By method, the mean over the choices of labels and half its interval, in points.

    Methods of equal steps, but for `views` and `full`, which are of the table on equal epochs.
    """
    text = (DOCS / "results" / "main.md").read_text("utf-8")
    found: dict[str, tuple[float, float]] = {}
    for part in text.split("\n## ")[1:3]:
        table = part.split("| over random | 1% |")[1].split("\n\n")[0]
        for line in table.splitlines()[2:]:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            match = re.fullmatch(r"([+-][\d.]+) ± ([\d.]+)~?", cells[-1])
            if match and (cells[0] in STEPS) == part.startswith("On equal epochs"):
                found[cells[0]] = float(match[1]), float(match[2])
    return found


def draw_frontier() -> None:
    """Write docs/assets/frontier.svg: accuracy over steps, a line for each method."""
    frontier = Frontier.load(FRONTIER)
    network = frontier.networks()[0]
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for method in frontier.methods():
        line = frontier.line(method, network, "steps")
        if line:
            found = [accuracy(cell) for cell in line]
            at, means = [cell.steps for cell in line], [a.mean for a in found]
            halves = [a.half_width for a in found]
            axes.errorbar(at, means, yerr=halves, marker="o", markersize=4, capsize=2, label=method)
    for cell in (c for m in frontier.methods() for c in frontier.line(m, network, "own")):
        if cell.method in ("none", "assistant", "teacher"):
            axes.axhline(accuracy(cell).mean, color="0.5", linestyle=":", linewidth=1)
            at = (1.01, accuracy(cell).mean)
            axes.annotate(
                cell.method, at, xycoords=("axes fraction", "data"), va="center", color="0.4"
            )
    axes.set_xscale("log", base=2)
    steps = sorted({c.steps for c in frontier.cells if c.axis == "steps"})
    axes.set_xticks(steps, [f"{step:,}" for step in steps], minor=False)
    axes.set_xlabel("gradient steps of pre-training")
    axes.set_ylabel("accuracy, % (95 % interval)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(DOCS / "assets" / "frontier.svg", metadata={"Date": None})


def draw_over_random() -> None:
    """Write docs/assets/over-random.svg."""
    rows = sorted(means_over_random().items(), key=lambda row: row[1][0])
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.axvline(0, color="0.6", linewidth=1)
    for height, (method, (mean, half)) in enumerate(rows):
        colour = "tab:red" if method == "views" else "tab:blue" if method == "mkdt" else "0.35"
        axes.errorbar(mean, height, xerr=half, fmt="o", color=colour, markersize=5, capsize=2)
    labels = [
        NAMES.get(method, method) + (f" ({STEPS[method]})" if method in STEPS else "")
        for method, _ in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_xlabel("accuracy over 378 random images, percentage points (95 % interval)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "assets" / "over-random.svg", metadata={"Date": None})


def main() -> None:
    """Write both."""
    plt.rcParams.update({"svg.hashsalt": "decoct", "font.size": 9})
    draw_over_random()
    draw_frontier()


if __name__ == "__main__":
    main()
