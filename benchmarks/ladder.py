"""What each part of the method `views` adds to random images: the ladder of docs/results.md.

python benchmarks/ladder.py RECIPE [--data FOLDER] --out RUN [--sizes 378] [--seeds 5] [--parts 16]
    [--rungs ...] [--network resnet10 16]

Every rung is the recipe with a few settings changed; stages are found in RUN, or made. A gap is
measured twice: from the same number of random images, and from random images that take the same
number of bytes (uint8 pixels, float16 targets).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from decoct.core import storage
from decoct.evaluation.interval import mark
from decoct.evaluation.scores import REFERENCE, UPPER, Score, Scores
from decoct.methods.registry import METHODS
from decoct.report.table import markdown
from decoct.run.method_stages import set_of
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe

# Each is a method and the changed settings. All but `views` have `--parts` views.
RUNGS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "random, as many steps": (REFERENCE, {}),
    "mkdt": ("mkdt", {}),
    "random images, the assistant's targets": (
        "views",
        {"views.count": 1, "views.select": "random"},
    ),
    "views of random images, each its image's target": (
        "views",
        {"views.select": "random", "views.labels": "image"},
    ),
    "views of random images, the teacher's targets": (
        "views",
        {"views.select": "random", "views.labels": "teacher"},
    ),
    "views of random images, the assistant's targets": ("views", {"views.select": "random"}),
    "views of k-means' images": ("views", {}),
    "8 views, a small assistant": (
        "views",
        {
            "views.count": 8,
            "assistant.epochs": 4,
            "assistant.network.name": "convnet",
            "assistant.network.width": 32,
        },
    ),
    "views": ("views", {}),
    "full": (UPPER, {}),
}
_FLOAT16 = 2


@dataclass(frozen=True)
class Rung:
    """The outcome of a rung."""

    name: str
    scores: tuple[Score, ...]
    equal_bytes: tuple[Score, ...]  # of random images with equal bytes; empty if not applicable
    bytes: int
    steps: int
    seconds: float  # to make one set and everything that it needs


def climb(base: Run, names: list[str], seeds: range, parts: int) -> Iterator[Rung]:
    """The requested rungs in order; the base determines the size."""
    for name in names:
        method, settings = RUNGS[name]
        run = Run(changed(base.recipe, name, settings, parts), base.folder, alike=base)
        used = bytes_of(run, method)
        equal = Run(base.recipe.set("size", round(used / random_bytes(base))), base.folder)
        shown = f"{run.recipe.views.count} {name}" if name.startswith("views of") else name
        yield Rung(
            shown,
            _scores(run, method, shown, seeds),
            _scores(equal, REFERENCE, REFERENCE, seeds) if used else (),
            used,
            run.facts(method).get("steps", 0),
            _seconds(run, method),
        )


def changed(recipe: Recipe, name: str, settings: dict[str, Any], parts: int) -> Recipe:
    """The recipe of a rung."""
    if name != "views":
        recipe = recipe.set("views.count", parts)
    if name == "random, as many steps":
        recipe = recipe.set("pretrain.epochs", recipe.pretrain.epochs * parts)
    for setting, value in settings.items():
        recipe = recipe.set(setting, value)
    return recipe


def count(run: Run) -> int:
    """How many images a set has."""
    return run.recipe.set_size(len(run.images))


def random_bytes(run: Run) -> int:
    """Bytes of a random image and its target."""
    return run.images.channels * run.images.size**2 + _FLOAT16 * run.targets.dimensions


def bytes_of(run: Run, method: str) -> int:
    """Bytes of a distilled set that is exported as bytes; 0 for other methods."""
    if not METHODS[method].proposed:
        return 0
    return run.facts("views")["bytes"] if method == "views" else count(run) * random_bytes(run)


def _scores(run: Run, method: str, name: str, seeds: range) -> tuple[Score, ...]:
    return tuple(
        replace(score, method=name) for seed in seeds for score in run.probe_scores(method, seed)
    )


def _seconds(run: Run, method: str) -> float:
    """Seconds to make a set and what it is made from, except the targets, on the machine used."""
    if not METHODS[method].makes_set:
        return 0.0
    graph = run.graph
    everybodys = {stage.name for stage in graph.reachable(["targets"])}
    needed = {stage.name for stage in graph.reachable([set_of(method, run.recipe.seed)])}
    for name in needed - everybodys:
        run.stages.find(name, graph.key(name))
    times = run.stages.seconds()
    return sum(times[name] for name in needed - everybodys if name in times)


def table(random: tuple[Score, ...], rungs: list[Rung]) -> list[list[str]]:
    """Header and one line per rung."""
    full = next((r.scores for r in rungs if r.name == UPPER), ())
    header = [
        "rung",
        "kB",
        "steps",
        "to make, s",
        "mean accuracy",
        "over random",
        "gap, images",
        "gap, bytes",
    ]
    lines = [header]
    for rung in rungs:
        row = Scores(random + rung.scores + full * (rung.name != UPPER)).row(rung.name, None)
        gap = ""
        if rung.equal_bytes:
            equal = Scores(rung.equal_bytes + rung.scores + full).row(rung.name, None)
            gap = equal.gap_recovered.share() if equal.gap_recovered else ""
        over = row.over_random
        lines.append(
            [
                rung.name,
                f"{rung.bytes / 1e3:,.0f}" if rung.bytes else "",
                f"{rung.steps:,}",
                f"{rung.seconds:.0f}",
                str(row.accuracy),
                f"{over.signed()}{'~' * (mark(over) == 'within noise')}" if over else "",
                row.gap_recovered.share() if row.gap_recovered else "",
                gap,
            ]
        )
    return lines


def main() -> None:
    """Print one table per size, and save all accuracies next to the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", default="")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rungs", nargs="+", default=[], choices=list(RUNGS))
    parser.add_argument("--parts", type=int, help="views on lower rungs; default: as in the recipe")
    parser.add_argument("--network", nargs=2, help="to pre-train: name and width")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    recipe = recipe.set("compare.full_epochs", 0)  # as many as for the small sets
    recipe = recipe.set("data", arguments.data)
    if arguments.network:
        name, width = arguments.network
        recipe = recipe.set("pretrain.network.name", name)
        recipe = recipe.set("pretrain.network.width", int(width))
    parts = arguments.parts or recipe.views.count
    names = arguments.rungs or [name for name in RUNGS if recipe.has_teacher or not _asks(name)]
    seeds = range(recipe.seed, recipe.seed + arguments.seeds)
    for sized in [recipe.set("size", size) for size in arguments.sizes] or [recipe]:
        run = Run(sized, arguments.out)
        size, random = count(run), _scores(run, REFERENCE, REFERENCE, seeds)
        rungs = list(climb(run, names, seeds, parts))
        print(f"\n{size} images, {arguments.seeds} seeds; {_accuracy(random)}\n")
        print(markdown(table(random, rungs)), flush=True)
        kept = {rung.name: [vars(s) for s in rung.scores + rung.equal_bytes] for rung in rungs}
        kept[REFERENCE] = [vars(s) for s in random]
        file = arguments.out / f"ladder-{recipe.pretrain.network.name}-{size}.json"
        storage.save_json(file, {"rungs": kept}, kind="ladder")


def _asks(rung: str) -> bool:
    """Whether a rung asks the teacher."""
    return RUNGS[rung][1].get("views.labels") == "teacher"


def _accuracy(random: tuple[Score, ...]) -> str:
    return f"random {Scores(random).row(REFERENCE, None).accuracy}"


if __name__ == "__main__":
    main()
