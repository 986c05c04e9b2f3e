"""What each part of the method `views` adds to random images: the ladder of docs/results.md.

python benchmarks/ladder.py RECIPE [--data FOLDER] --out RUN [--sizes 378] [--seeds 5] [--parts 16]
    [--rungs ...] [--network resnet10 16]

Every rung is the recipe with a few settings changed; stages are found in RUN, or made. A gap is
measured twice: from as many random images, and from as many bytes of them (pixels as bytes, targets
as float16).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from decoct.artefacts.distilled import resolve_size
from decoct.core import storage
from decoct.data.stored_views import NUMBERS
from decoct.evaluation.scores import REFERENCE, UPPER, Score, Scores, mark
from decoct.models.registry import NetworkConfig
from decoct.report.table import markdown
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe

# Settings of `views`; `_METHODS` have their own method. All but `views` have `--parts` views.
RUNGS: dict[str, dict[str, Any]] = {
    "none": {},
    "random, as many steps": {},
    "mkdt": {},
    "random images, the assistant's targets": {"count": 1, "start": "random"},
    "views of random images, each its image's target": {"start": "random", "labels": "image"},
    "views of random images, the teacher's targets": {"start": "random", "labels": "teacher"},
    "views of random images, the assistant's targets": {"start": "random"},
    "views of k-means' images": {},
    "8 views, a small assistant": {
        "count": 8,
        "assistant": {"epochs": 4, "network": NetworkConfig(name="convnet", width=32)},
    },
    "views": {},
    "full": {},
}
_METHODS = {n: n for n in ("none", "mkdt", "full")} | {"random, as many steps": "random"}
_FLOAT16 = 2


@dataclass(frozen=True)
class Rung:
    """What a rung came to."""

    name: str
    scores: tuple[Score, ...]
    equal_bytes: tuple[Score, ...]  # of as many bytes of random images; none: no bytes to equal
    bytes: int
    steps: int
    seconds: float  # to make what it needs, one set of it


def climb(
    recipe: Recipe, folder: Path, names: list[str], seeds: range, parts: int
) -> Iterator[Rung]:
    """The rungs asked for, one after the other; the recipe gives the size."""
    for name in names:
        settings = {"count": recipe.views.count if name == "views" else parts, **RUNGS[name]}
        method = _METHODS.get(name, "views")
        epochs = recipe.pretrain.epochs * (parts if name == "random, as many steps" else 1)
        assistant = replace(recipe.assistant, **settings.pop("assistant", {}))
        changed = replace(
            recipe,
            assistant=assistant,
            views=replace(recipe.views, **settings),
            pretrain=replace(recipe.pretrain, epochs=epochs),
        )
        views = changed.views
        run = Run(changed, folder)
        dimensions = run.targets.dimensions
        image = run.images.channels * run.images.size**2
        alone = image + _FLOAT16 * dimensions  # bytes of a random image
        size, used = count(recipe, run), 0
        if method == "views":
            used = size * (image + views.count * (_FLOAT16 * dimensions + NUMBERS))
        elif method == "mkdt":
            used = size * alone  # once exported as bytes
        more = Run(replace(recipe, size=round(used / alone)), folder) if used else None
        kept = len(run.images) if method == UPPER else size
        steps = 0 if method == "none" else changed.steps(method, kept)
        shown = f"{views.count} {name}" if name.startswith("views of") else name
        yield Rung(
            shown,
            _scores(run, method, shown, seeds),
            _scores(more, REFERENCE, REFERENCE, seeds) if more else (),
            used,
            steps,
            _seconds(run, method),
        )


def count(recipe: Recipe, run: Run) -> int:
    """How many images a set has."""
    return resolve_size(size=recipe.size, fraction=recipe.fraction, total=len(run.images))


def _scores(run: Run, method: str, name: str, seeds: range) -> tuple[Score, ...]:
    return tuple(
        replace(score, method=name) for seed in seeds for score in run.probe_scores(method, seed)
    )


def _seconds(run: Run, method: str) -> float:
    """To make what is shared, and one set: as long as it took on the machine that made it."""
    shared = {"views": "assistant", "mkdt": "experts"}.get(method)
    labels = {shared: getattr(run.keys, shared)} if shared else {}
    if method == "views" and run.recipe.views.labels != "assistant":
        labels = {}
    if method in ("views", "mkdt"):
        labels[f"{method}-seed0"] = run.keys.distilled(method, 0)
    for label, key in labels.items():
        run.stages.path(label, key)
    times = run.stages.seconds()
    return sum(times[label] for label in labels if label in times)


def table(random: tuple[Score, ...], rungs: list[Rung]) -> list[list[str]]:
    """Header and a line a rung."""
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
    """Print a table a size, and keep all accuracies beside the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", default="")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rungs", nargs="+", default=[], choices=list(RUNGS))
    parser.add_argument("--parts", type=int, help="views on the way up; the recipe's number")
    parser.add_argument("--network", nargs=2, help="to pre-train: name and width")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    compare = replace(recipe.compare, full_epochs=0)  # as many as the small sets
    recipe = replace(recipe, data=arguments.data, compare=compare)
    if arguments.network:
        name, width = arguments.network
        network = replace(recipe.pretrain.network, name=name, width=int(width))
        recipe = replace(recipe, pretrain=replace(recipe.pretrain, network=network))
    parts = arguments.parts or recipe.views.count
    absent = "teacher" if recipe.targets.source else ""  # there is none to ask
    names = arguments.rungs or [n for n, r in RUNGS.items() if r.get("labels") != absent]
    seeds = range(recipe.seed, recipe.seed + arguments.seeds)
    for sized in [replace(recipe, size=size) for size in arguments.sizes] or [recipe]:
        run = Run(sized, arguments.out)
        size, random = count(sized, run), _scores(run, REFERENCE, REFERENCE, seeds)
        rungs = list(climb(sized, arguments.out, names, seeds, parts))
        print(f"\n{size} images, {arguments.seeds} seeds; {_accuracy(random)}\n")
        print(markdown(table(random, rungs)), flush=True)
        kept = {rung.name: [vars(s) for s in rung.scores + rung.equal_bytes] for rung in rungs}
        kept[REFERENCE] = [vars(s) for s in random]
        file = arguments.out / f"ladder-{recipe.pretrain.network.name}-{size}.json"
        storage.save_json(file, {"rungs": kept}, kind="ladder")


def _accuracy(random: tuple[Score, ...]) -> str:
    return f"random {Scores(random).row(REFERENCE, None).accuracy}"


if __name__ == "__main__":
    main()
