"""Tune every method in the same way: rate and length of pre-training, by held-out pool images only.

No task and no label is used. Every method gets the same grid: factors on the learning rate that
its set comes with, and numbers of epochs.
"""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from decoct.core import storage
from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.forms import typed, understood
from decoct.core.settings import Count, Few, Positive, Settings, Some
from decoct.core.spelling import suggest
from decoct.evaluation.scores import REFERENCE
from decoct.evaluation.target_probe import check_left_out
from decoct.methods.registry import METHODS
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.studies.held_out import find_errors, kept_error

_LENGTH = REFERENCE  # all methods get the length that is best for this one


def tuned() -> list[str]:
    """The methods that train for equally long, and so can be tuned in the same way."""
    return [name for name, kind in METHODS.items() if kind.keeps_encoder and not kind.own_length()]


@dataclass(frozen=True)
class TuneConfig(Settings):
    """The grid, the same for every method."""

    section: ClassVar[str] = "tune"

    lr_factors: Some[Positive] = (0.5, 1.0, 2.0, 4.0)  # multiply a method's learning rate
    epochs: Some[Count] = (10, 20, 40)  # lengths of pre-training
    seeds: Few = 1  # errors are means over them
    methods: tuple[str, ...] = ()  # empty: the compared methods that pre-train on a small budget

    def __post_init__(self) -> None:
        super().__post_init__()
        for method in self.methods:
            if method not in tuned():
                raise DecoctError(f"tune: method {method!r} is unknown;{suggest(method, tuned())}")


@dataclass(frozen=True)
class Trial:
    """One cell of a method's grid."""

    method: str
    lr_factor: float
    epochs: int
    error: float  # on held-out pool images, mean over seeds; inf if training diverged


@dataclass(frozen=True)
class Tuning:
    """All trials, and the best of them.

    >>> trials = [Trial("random", r, e, (r - 1) ** 2 + 1 / e) for r in (1, 2) for e in (10, 20)]
    >>> tuning = Tuning((*trials, Trial("mkdt", 2.0, 20, 0.5)))
    >>> tuning.epochs(), tuning.best("random").lr_factor, tuning.lr_factors(20)
    (20, 1, {'random': 1, 'mkdt': 2.0})
    """

    trials: tuple[Trial, ...]

    def methods(self) -> list[str]:
        """The methods tried, in order."""
        return list(dict.fromkeys(t.method for t in self.trials))

    def best(self, method: str, epochs: int | None = None) -> Trial:
        """The trial with the lowest error, optionally among those with a given length."""
        own = [t for t in self.trials if t.method == method and epochs in (None, t.epochs)]
        return min(own, key=lambda t: t.error)

    def epochs(self) -> int:
        """The length that is best for `random`, because a length that all share is the baseline's.

        Without that method, the length with the lowest mean error over all.
        """
        if _LENGTH in self.methods():
            return self.best(_LENGTH).epochs
        lengths = sorted({t.epochs for t in self.trials})
        means = [np.mean([self.best(m, e).error for m in self.methods()]) for e in lengths]
        return lengths[int(np.argmin(means))]

    def lr_factors(self, epochs: int) -> dict[str, float]:
        """Every method's best factor at one length, for `compare.lr_factors`."""
        return {method: self.best(method, epochs).lr_factor for method in self.methods()}

    def save(self, path: Path) -> None:
        """Write `tuning.json`; null stands for inf, which JSON lacks."""
        trials = [asdict(t) | {"error": _finite(t.error)} for t in self.trials]
        storage.save_json(path, {"trials": trials}, kind="tuning")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        with understood(path):
            trials = storage.load_json(path, kind="tuning")["trials"]
            return cls(tuple(map(_trial, trials)))


def _trial(content: dict[str, Any]) -> Trial:
    """A trial from a file's content; files of format version 1 call the factor `rate`."""
    old = {"lr_factor": content.pop("rate")} if "rate" in content else {}
    trial: Trial = typed(content | old | {"error": _error_of(content["error"])}, Trial)
    return trial


def tune(
    *, recipe: Recipe, folder: Path | str, config: TuneConfig | None = None, jobs: int = 1
) -> Tuning:
    """Try the grid for every method; the run's folder keeps each trial for later calls.

    Also writes `tuning.json`. `jobs` processes share the work. Raises `DecoctError` if the recipe
    holds no images out.
    """
    config, folder = config or TuneConfig(), Path(folder)
    methods = config.methods or tuple(m for m in recipe.compare.methods if m in tuned())
    if not methods:
        raise DecoctError("compare.methods names nothing that is tuned")
    base = Run(recipe, folder)
    check_left_out(base.split[1])
    seeds = range(recipe.seed, recipe.seed + config.seeds)
    grid = [(m, r, e) for m in methods for e in config.epochs for r in config.lr_factors]
    label = "tuning, trials"
    if jobs != 1:
        wanted = ((_run(base, r, e), m, seed) for m, r, e in grid for seed in seeds)
        find_errors(wanted, folder=folder, jobs=jobs, label=label)
    trials = []
    with progress(label, total=len(grid)) as advance:
        for method, factor, epochs in grid:
            run = _run(base, factor, epochs)
            error = float(np.mean([kept_error(run, method, seed) for seed in seeds]))
            trials.append(Trial(method, factor, epochs, error))
            advance(f"{method}, lr x {factor:g}, {epochs} epochs: {error:.3f}")
    tuning = Tuning(tuple(trials))
    tuning.save(folder / "tuning.json")
    return tuning


def _run(base: Run, lr_factor: float, epochs: int) -> Run:
    """A run with another factor and length, sharing the data that they do not change."""
    recipe = base.recipe
    pretraining = replace(recipe.pretrain, lr_factor=lr_factor, epochs=epochs)
    compared = replace(recipe.compare, lr_factors={})
    changed = replace(recipe, pretrain=pretraining, compare=compared)
    return Run(changed, base.folder, alike=base)


def _finite(error: float) -> float | None:
    return error if math.isfinite(error) else None


def _error_of(found: float | None) -> float:
    return math.inf if found is None else found


def tuning_rows(tuning: Tuning) -> list[list[str]]:
    """Header and one line per method: the lowest error at each length, and its factor."""
    lengths = sorted({t.epochs for t in tuning.trials})
    common = tuning.epochs()
    rows = [["method", *(f"{n} epochs" for n in lengths), "best", f"lr at {common} epochs"]]
    for method in tuning.methods():
        found = [tuning.best(method, n) for n in lengths]
        best = tuning.best(method)
        cells = [f"{t.error:.3f} (x {t.lr_factor:g})" for t in found]
        rows.append(
            [
                method,
                *cells,
                f"{best.epochs} epochs, x {best.lr_factor:g}",
                f"x {tuning.best(method, common).lr_factor:g}",
            ]
        )
    return rows
