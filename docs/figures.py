"""Draw the figures of docs: the frontiers, from their files, and one from the tables of main.md.

python docs/figures.py
"""

import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from decoct.studies.frontier.cells import Cell, Frontier, accuracy

DOCS = Path(__file__).parent
BENCHMARKS = DOCS.parent / "benchmarks"
STEPS = {"views": "3,840 steps", "full": "5,400 steps"}  # the others: 120, or none
NAMES = {"none": "no pre-training", "full": "all 16,992 images", "full-steps": "all images"}

_COLOURS: dict[str, str] = {}  # of a method and its bytes, the same in every panel


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
    """Write docs/assets/frontier.svg: the proxy suite, a panel for each network."""
    frontier = Frontier.load(BENCHMARKS / "proxy32" / "frontier.json")
    networks = {"convnet 32": "a ConvNet of width 32", "resnet10 16": "a ResNet-10 of width 16"}
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for axes, (network, title) in zip(panels, networks.items(), strict=True):
        lines = {
            _labelled(m, line): line
            for m in frontier.methods()
            if (line := frontier.line(m, network, "steps"))
        }
        carried = frontier.line("carried", network, "bytes")
        larger = [cell for cell in carried if cell.budget == "1.2MB"]
        _draw(axes, lines | {_labelled("carried", larger): larger}, _levels(frontier, network))
        axes.set_title(title)
    panels[0].set_ylabel("accuracy, % (95 % interval)")
    lines = panels[0].get_legend_handles_labels()
    panels[1].legend(*lines, frameon=False, fontsize=8, loc="center right")
    figure.savefig(DOCS / "assets" / "frontier.svg", metadata={"Date": None})


def draw_emoji() -> None:
    """Write docs/assets/frontier-emoji.svg: the same for the demo's pool."""
    frontier = Frontier.load(BENCHMARKS / "emoji" / "frontier.json")
    network = frontier.networks()[0]
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    lines = {
        _labelled(m, line): line
        for m in frontier.methods()
        if (line := frontier.line(m, network, "steps"))
    }
    _draw(axes, lines, _levels(frontier, network))
    axes.set_ylabel("accuracy, % (95 % interval)")
    figure.legend(frameon=False, fontsize=8, ncols=5, loc="outside upper center")
    figure.savefig(DOCS / "assets" / "frontier-emoji.svg", metadata={"Date": None})


def _labelled(method: str, line: list[Cell]) -> str:
    """A method and the bytes of its set."""
    return f"{NAMES.get(method, method)}, {line[0].bytes / 1e6:.2g} MB"


def _levels(frontier: Frontier, network: str) -> dict[str, float]:
    """The accuracies that took no steps or a length of their own."""
    own = [c for m in frontier.methods() for c in frontier.line(m, network, "own")]
    return {
        f"{cell.method}{f', {cell.steps:,} steps' * bool(cell.steps)}": accuracy(cell).mean
        for cell in own
        if cell.method in ("none", "assistant", "teacher", "full")
    }


def _draw(axes: Axes, lines: dict[str, list[Cell]], levels: dict[str, float]) -> None:
    """Accuracy over steps, with what took no steps as levels."""
    for label, line in lines.items():
        colour = _COLOURS.setdefault(label, f"C{len(_COLOURS)}")
        found = [accuracy(cell) for cell in line]
        at, means = [cell.steps for cell in line], [a.mean for a in found]
        halves = [a.half_width for a in found]
        axes.errorbar(at, means, yerr=halves, fmt="o-", ms=4, capsize=2, label=label, color=colour)
    for label, mean in levels.items():
        axes.axhline(mean, color="0.5", linestyle=":", linewidth=1)
        place = ("axes fraction", "data")
        axes.annotate(label, (0.01, mean), xycoords=place, va="bottom", color="0.4", fontsize=7)
    axes.set_xscale("log", base=2)
    steps = sorted({cell.steps for line in lines.values() for cell in line})
    axes.set_xticks(steps, [f"{step:,}" for step in steps], minor=False)
    axes.set_xlabel("gradient steps of pre-training")
    axes.spines[["top", "right"]].set_visible(False)


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
    """Write all."""
    plt.rcParams.update({"svg.hashsalt": "decoct", "font.size": 9})
    draw_over_random()
    draw_frontier()
    draw_emoji()


if __name__ == "__main__":
    main()
