"""Run every variant of a recipe in one folder, so that shared stages are made only once."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from decoct.core import storage
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.evaluation.scores import REFERENCE, UPPER, Score
from decoct.methods.registry import method_kind
from decoct.run.doctor import duration_text
from decoct.run.lock import lock_folder
from decoct.run.method_stages import probe_of, set_of
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.run.workers import Job, stage_jobs, workers
from decoct.studies.ablation import Ablation, Outcome, ends
from decoct.studies.axes import Variant, axes_of, plan

_CACHED_S = 1.0  # a variant that took less existed already, so its time says nothing about others


def ablate(
    *, recipe: Recipe, folder: Path | str, axes: Sequence[str] = (), jobs: int = 1
) -> Ablation:
    """Distil, pre-train and probe with one thing changed at a time, for every seed of the recipe.

    It varies the recipe's `method`, which must make a set. `axes` are among those that the method
    declares, `teacher` and `size`, given by name (`init`) or with values (`experts=1,5`); none
    means all. `folder` is the recipe's own run, whose stages are used and added to. It writes
    `ablation.json` there again after each variant; after an interrupt, the same call continues.
    If more than one of `jobs` processes share the work, it is written when all are finished.
    Raises `DecoctError`, before any work, for an unknown axis and for a variant that cannot run.
    """
    if not method_kind(recipe.method).makes_set:
        raise DecoctError(f"{recipe.method} makes no set; choose another --method to ablate")
    if not recipe.compare.tasks:
        raise DecoctError("compare.tasks is empty: there is nothing to judge variants by")
    variants, base = plan(recipe, axes), Run(recipe, folder)
    todo = {storage.digest(recipe): Variant("", "", recipe)}
    for variant in variants:
        todo.setdefault(storage.digest(variant.recipe), variant)
    note(f"{len(todo)} variants of {recipe.name}, {recipe.compare.seeds} sets each")
    base.pool, base.tasks  # noqa: B018 - load once for all variants
    _check(todo.values(), base)
    base.save_recipe()
    if jobs != 1:
        _make(variants, base, jobs)
    found: dict[str, Outcome] = {}
    upper: tuple[Score, ...] = ()
    for key, variant in _announced(todo):
        run = _run(variant.recipe, base)
        found[key] = _measure(run)
        if not variant.axis:
            upper = _upper(run, variants)
            run.save_manifest()
        ablation = Ablation(
            recipe.name,
            tuple(_placed(variants, found, recipe, upper)),
            {name: axis.what for name, axis in axes_of(recipe).items()},
        )
        ablation.save(base.folder / "ablation.json")
    return ablation


def _run(recipe: Recipe, base: Run) -> Run:
    """A variant in the folder of the base run, sharing the data that no variant changes."""
    return Run(recipe, base.folder, alike=base)


def _check(variants: Iterable[Variant], base: Run) -> None:
    """Raise `DecoctError` if a variant would fail later on."""
    for variant in variants:
        try:
            _run(variant.recipe, base).check()
        except DecoctError as error:
            if not variant.axis:  # the recipe itself
                raise
            raise DecoctError(
                f"axis {variant.axis}, value {variant.value}: {error}; give the values that you "
                f"want, as in --axes {variant.axis}=..."
            ) from error


def _make(variants: Sequence[Variant], base: Run, jobs: int) -> None:
    """Make all sets and probe them, in several processes; `_measure` and `_upper` find them."""
    wanted: dict[str, Job] = {}
    for run in (base, *(_run(variant.recipe, base) for variant in variants)):
        upper = (UPPER,) if run is base and _has_upper(base, variants) else ()
        methods = (run.recipe.method, REFERENCE, *upper)
        wanted |= stage_jobs(run, [probe_of(m, s) for m in methods for s in run.graph.seeds])
    with lock_folder(base.folder), workers(jobs) as pool:
        pool.do(wanted, label="stages of all variants, side by side")


def _announced(todo: Mapping[str, Variant]) -> Iterator[tuple[str, Variant]]:
    """Yield each variant after announcing it with the time left."""
    took: list[float] = []
    for i, (key, variant) in enumerate(todo.items()):
        name = f"{variant.axis} {variant.value}" if variant.axis else "the recipe itself"
        note(f"variant {i + 1} of {len(todo)}: {name}{_left(took, len(todo) - i)}")
        start = time.monotonic()
        yield key, variant
        seconds = time.monotonic() - start
        took += [seconds] if seconds > _CACHED_S else []


def _left(took: Sequence[float], count: int) -> str:
    """A clause that estimates the time left for `count` variants from the previous ones.

    >>> _left([60.0, 120.0], 4), _left([], 4)
    (', about 6.0 min left', '')
    """
    return f", about {duration_text(sum(took) / len(took) * count)} left" if took else ""


def _measure(run: Run) -> Outcome:
    """Accuracies, losses and times of one variant; the caller knows where on which axis it is."""
    method, seeds = run.recipe.method, run.graph.seeds
    scores = [s for seed in seeds for m in (method, REFERENCE) for s in run.probe_scores(m, seed)]
    sets = [run.distilled(method, seed) for seed in seeds]
    losses = [ends(made.history["loss"].tolist()) for made in sets if "loss" in made.history]
    seconds = run.stages.seconds()
    return Outcome(
        axis="",
        value="",
        base=False,
        scores=tuple(scores),
        loss=tuple(np.mean(losses, axis=0).tolist()) if losses else None,
        seconds=float(np.mean([seconds.get(set_of(method, seed), 0.0) for seed in seeds])),
        bytes=round(np.mean([made.bytes for made in sets])),
    )


def _upper(base: Run, variants: Sequence[Variant]) -> tuple[Score, ...]:
    """The accuracies of `full`, whatever the set's size, for the gap; empty if not compared."""
    seeds = base.graph.seeds if _has_upper(base, variants) else ()
    return tuple(s for seed in seeds for s in base.probe_scores(UPPER, seed))


def _has_upper(base: Run, variants: Sequence[Variant]) -> bool:
    return UPPER in base.recipe.compare.methods and any(v.axis == "size" for v in variants)


def _placed(
    variants: Sequence[Variant],
    found: Mapping[str, Outcome],
    base: Recipe,
    upper: tuple[Score, ...],
) -> Iterator[Outcome]:
    """The finished outcomes, each in its place; the base's is on every axis."""
    for variant in variants:
        outcome = found.get(storage.digest(variant.recipe))
        if outcome is not None:
            yield replace(
                outcome,
                axis=variant.axis,
                value=variant.value,
                base=variant.recipe == base,
                scores=outcome.scores + upper if variant.axis == "size" else outcome.scores,
            )
