"""Choose what of a set fits in a number of bytes: its labeller, its codes, and how many images.

The more bytes the labeller and each image take, the fewer images fit. Every way to divide the
budget is tried, and judged by the error on held-out pool images, without a task or a label.
"""

import math
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from rich.filesize import decimal as size_text

from decoct.artefacts.codes import LOSSLESS
from decoct.core import storage
from decoct.core.bytes import bytes_of
from decoct.core.console import note, progress
from decoct.core.errors import DecoctError
from decoct.core.forms import typed, understood
from decoct.core.settings import Bounds, Few, Settings, Share, Some, Width
from decoct.evaluation.target_probe import check_left_out
from decoct.methods.carried import Carrying
from decoct.methods.registry import METHODS, method_kind
from decoct.run.budget import size_within
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.studies.held_out import find_errors, kept_error

Quality = Annotated[int, Bounds(at_least=1, at_most=LOSSLESS)]


@dataclass(frozen=True)
class FitConfig(Settings):
    """What is tried: every combination."""

    section: ClassVar[str] = "fit"

    widths: tuple[Width, ...] = ()  # of the labeller; empty: the recipe's, its half and its quarter
    weights: Some[Literal["float16", "int8"]] = ("float16", "int8")  # the labeller's codes
    qualities: Some[Quality] = (30, 50, 80)  # of WebP
    plain: Some[Share] = (0.0, 0.25)  # fractions of the images that are shown unaugmented
    seeds: Few = 1  # errors are means over them


@dataclass(frozen=True)
class Candidate:
    """One way to divide the budget."""

    network: str  # the labeller's, by name
    width: int
    weights: str
    quality: int
    plain: float
    images: int
    bytes: int
    error: float  # on held-out pool images, mean over seeds; inf if training diverged

    def lines(self) -> str:
        """What the recipe must say.

        >>> print(Candidate("convnet", 32, "int8", 50, 0.25, 378, 250_000, 0.5).lines())
        size: 378
        assistant: {network: {name: convnet, width: 32}}
        labeller: {weights: int8, quality: 50, plain: 0.25}
        """
        return (
            f"size: {self.images}\n"
            f"assistant: {{network: {{name: {self.network}, width: {self.width}}}}}\n"
            f"labeller: {{weights: {self.weights}, quality: {self.quality}, plain: {self.plain:g}}}"
        )


@dataclass(frozen=True)
class Fit:
    """All candidates, from the lowest error."""

    budget: str
    method: str
    candidates: tuple[Candidate, ...]

    def save(self, path: Path) -> None:
        """Write `fit.json`; null stands for inf, which JSON lacks."""
        candidates = [
            asdict(c) | {"error": c.error if math.isfinite(c.error) else None}
            for c in self.candidates
        ]
        content = {"budget": self.budget, "method": self.method, "candidates": candidates}
        storage.save_json(path, content, kind="fit")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        with understood(path):
            content = storage.load_json(path, kind="fit")
            for candidate in content["candidates"]:
                candidate["error"] = math.inf if candidate["error"] is None else candidate["error"]
            found: Self = typed(content, cls)
            return found


def fit(
    *, recipe: Recipe, folder: Path | str, config: FitConfig | None = None, jobs: int = 1
) -> Fit:
    """Try every way to keep a set of `recipe.method` within `recipe.budget`.

    The folder keeps every error, and `fit.json` all of them. `jobs` processes share the work.
    Raises `DecoctError` if the recipe has no budget or holds no images out, if the method's set
    carries no labeller, or if nothing fits.
    """
    config, folder = config or FitConfig(), Path(folder)
    _check(recipe)
    base = Run(replace(recipe, budget=""), folder)
    check_left_out(base.split[1])
    budget = bytes_of(recipe.budget)
    ways = (_run(way, base, budget) for way in _ways(base.recipe, config))
    runs = [run for run in ways if run is not None]
    seeds = range(recipe.seed, recipe.seed + config.seeds)
    label = "ways to divide the budget"
    if runs and jobs != 1:
        wanted = ((run, recipe.method, seed) for run, seed in product(runs, seeds))
        find_errors(wanted, folder=folder, jobs=jobs, label=label)
    found = []
    with progress(label, total=len(runs)) as advance:
        for run in runs:
            error = float(np.mean([kept_error(run, recipe.method, seed) for seed in seeds]))
            candidate = _candidate(run, error)
            if candidate.bytes <= budget:  # their number was estimated from a sample of the pool
                found.append(candidate)
            advance(f"{candidate.images} images: {error:.3f}")
    if not found:
        raise DecoctError(f"{recipe.budget} hold no set of {recipe.method} that was tried")
    result = Fit(recipe.budget, recipe.method, tuple(sorted(found, key=lambda c: c.error)))
    result.save(folder / "fit.json")
    return result


def _check(recipe: Recipe) -> None:
    if not recipe.budget:
        raise DecoctError("decoct fit needs the bytes that a set may take: --budget 1MB, say")
    if not issubclass(method_kind(recipe.method), Carrying):
        known = ", ".join(name for name, kind in METHODS.items() if issubclass(kind, Carrying))
        raise DecoctError(f"fit chooses for sets that carry a labeller: {known}")


def _ways(recipe: Recipe, config: FitConfig) -> list[Recipe]:
    """A recipe for each combination, as yet without a size."""
    own = recipe.assistant.network
    widths = config.widths or tuple(w for w in (own.width, own.width // 2, own.width // 4) if w)
    return [
        recipe.set("assistant.network", replace(own, width=width))
        .set("labeller.weights", weights)
        .set("labeller.quality", quality)
        .set("labeller.plain", plain)
        for width, weights, quality, plain in product(
            widths, config.weights, config.qualities, config.plain
        )
    ]


def _run(recipe: Recipe, base: Run, budget: int) -> Run | None:
    """A run of the recipe with as many images as fit; None if not even one does."""
    try:
        size = size_within(budget, recipe=recipe, method=recipe.method, images=base.pool)
    except DecoctError as error:
        note(str(error))
        return None
    return Run(recipe.having(size=size), base.folder, alike=base)


def _candidate(run: Run, error: float) -> Candidate:
    recipe = run.recipe
    found = run.distilled(recipe.method, recipe.seed)
    return Candidate(
        network=recipe.assistant.network.name,
        width=recipe.assistant.network.width,
        weights=str(recipe.get("labeller.weights")),
        quality=int(recipe.get("labeller.quality")),
        plain=float(recipe.get("labeller.plain")),
        images=len(found.images),
        bytes=found.bytes,
        error=error,
    )


def fit_rows(fit: Fit) -> list[list[str]]:
    """Header and one line for each candidate, from the lowest error."""
    settings = ["labeller's width", "its weights", "WebP quality", "shown plain"]
    rows = [[*settings, "images", "bytes", "error"]]
    for c in fit.candidates:
        quality = "lossless" if c.quality == LOSSLESS else str(c.quality)
        cells = [str(c.width), c.weights, quality, f"{c.plain:.0%}", f"{c.images:,}"]
        rows.append([*cells, size_text(c.bytes), f"{c.error:.4f}"])
    return rows
