"""Measure the frontier: every method at several budgets of steps and of bytes.

At each place every method gets the same search: its optimisers and factors on their rates, judged
on held-out pool images alone. The winners are then trained and probed with every seed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from decoct.core import storage
from decoct.core.bytes import bytes_of
from decoct.core.console import note
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.settings import Count, Positive, Settings
from decoct.evaluation.scores import REFERENCE, Score
from decoct.evaluation.target_probe import check_left_out, target_probe_error
from decoct.methods.registry import method_kind
from decoct.run.budget import size_within
from decoct.run.method_stages import encoder_of, probe_of
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.studies.frontier.cells import Cell, Frontier

Trained = Literal["own", "sgd", "muon"]  # by which optimiser; "own" if a method has no choice


@dataclass(frozen=True)
class FrontierConfig(Settings):
    """The budgets, and the search that every method gets at each of them."""

    section: ClassVar[str] = "frontier"

    methods: tuple[str, ...] = ()  # empty: those that the recipe compares
    steps: tuple[Count, ...] = (60, 120, 240, 480, 960, 1920, 3840)
    bytes: tuple[str, ...] = ("0.25MB", "0.5MB", "1MB", "2MB", "4MB", "8MB")
    at_steps: Count = 480  # the length at which bytes are varied
    optimisers: tuple[Trained, ...] = ("sgd", "muon")
    lr_factors: tuple[Positive, ...] = (0.5, 1.0, 2.0)  # multiply an optimiser's learning rate
    seeds: Count = 5
    learn_each: bool = False  # also learn synthetic sets of every number of bytes

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.optimisers and self.lr_factors):
            raise DecoctError("frontier: give at least one optimiser and one lr factor")
        for method in self.methods:
            method_kind(method)
        for budget in self.bytes:
            bytes_of(budget)


@dataclass(frozen=True)
class Place:
    """One method at one budget, before a rule is chosen."""

    method: str
    axis: str
    budget: str
    recipe: Recipe  # with the budget's size and length


def frontier(
    *, recipe: Recipe, folder: Path | str, config: FrontierConfig | None = None
) -> Frontier:
    """Measure all places, one seed after the other; also writes `frontier.json` after each.

    Cells that the file already has are kept, even if the rest of the run's folder is gone, so it
    can be continued on another machine. Raises `DecoctError` if the recipe holds no images out.
    """
    config, folder = config or FrontierConfig(), Path(folder)
    study = _Study(recipe, folder, config)
    places = study.places()
    for seed in range(config.seeds):
        for number, place in enumerate(places, 1):
            note(
                f"seed {seed + 1} of {config.seeds}, place {number} of {len(places)}: "
                f"{place.method}, {place.axis} {place.budget}"
            )
            study.measure(place, seeds=seed + 1)
    study.base.save_manifest()
    return study.found()


class _Study:
    """The cells found so far, and what is needed to find more."""

    def __init__(self, recipe: Recipe, folder: Path, config: FrontierConfig) -> None:
        self.recipe, self.config, self.file = recipe, config, folder / "frontier.json"
        self.base = Run(recipe, folder)
        check_left_out(self.base.split[1])
        old = Frontier.load(self.file) if self.file.exists() else Frontier(recipe.name, ())
        self.trials: dict[str, float | None] = dict(old.trials)
        self.known = {key: cell for cell in old.cells for key in cell.keys}
        self.cells: dict[tuple[str, ...], Cell] = {(*c.place, c.optimiser): c for c in old.cells}

    def places(self) -> list[Place]:
        """All places, the references first."""
        methods = self.config.methods or self.recipe.compare.methods
        found = [Place(m, "own", "", self.recipe) for m in methods if self._only_own(m)]
        trained = [m for m in methods if not self._only_own(m)]
        found += [Place(m, "own", "", self.recipe) for m in trained if m == REFERENCE]
        for method in trained:
            found += [self._of_steps(method, steps) for steps in self.config.steps]
        for method in trained:
            found += self._of_bytes(method)
        return found

    def _only_own(self, method: str) -> bool:
        """Whether a method has no length to choose."""
        kind = method_kind(method)
        return kind.own_length() or not kind.keeps_encoder

    def _of_steps(self, method: str, steps: int) -> Place:
        recipe = self.recipe.set("pretrain.steps", steps)
        return Place(method, "steps", str(steps), recipe)

    def _of_bytes(self, method: str) -> Iterator[Place]:
        kind = method_kind(method)
        if not kind.makes_set or (kind.synthetic and not self.config.learn_each):
            return
        recipe = self.recipe.set("pretrain.steps", self.config.at_steps)
        for budget in self.config.bytes:
            try:
                size = size_within(
                    bytes_of(budget), recipe=recipe, method=method, images=self.base.pool
                )
            except DecoctError as error:
                note(str(error))
                continue
            yield Place(method, "bytes", budget, recipe.having(size=size))

    def measure(self, place: Place, *, seeds: int) -> None:
        """Find the scores of a place for the first `seeds` seeds, and save them."""
        rules = self._rules(place)
        best = min(rules, key=lambda optimiser: rules[optimiser][1])
        for optimiser, (factor, error) in rules.items():
            if math.isinf(error) or (optimiser != best and place.axis != "own"):
                continue
            cell = self._cell(place, optimiser, factor, seeds)
            if place.axis == "bytes":  # the rule was chosen at another place
                error = self._error(place, optimiser, factor)
            cell = replace(cell, error=error, best=optimiser == best)
            self.cells[(*cell.place, optimiser)] = cell
        self.found().save(self.file)

    def found(self) -> Frontier:
        """The cells, in the order in which they were measured."""
        return Frontier(self.recipe.name, tuple(self.cells.values()), self.trials)

    def _rules(self, place: Place) -> dict[Trained, tuple[float, float]]:
        """By optimiser: the factor on its rate, and the error on held-out images."""
        if not method_kind(place.method).keeps_encoder:
            return {"own": (1.0, self._error(place, "own", 1.0))}
        if place.axis == "bytes":  # the number of images hardly moves the rate
            place = self._of_steps(place.method, self.config.at_steps)
        found: dict[Trained, tuple[float, float]] = {}
        for optimiser in self.config.optimisers:
            errors = {f: self._error(place, optimiser, f) for f in self.config.lr_factors}
            factor = min(errors, key=lambda f: errors[f])
            found[optimiser] = (factor, errors[factor])
        return found

    def _error(self, place: Place, optimiser: Trained, factor: float) -> float:
        """The error of the first seed's encoder; inf if its training diverged."""
        run = self._run(place, optimiser, factor)
        seed = self.recipe.seed
        key = storage.digest(
            run.graph.key(encoder_of(place.method, seed)),
            run.graph.key("targets"),
            run.graph.key("split"),
        )
        if key not in self.trials:
            try:
                self.trials[key] = target_probe_error(
                    encoder=run.encoder(place.method, seed),
                    images=run.pool,
                    targets=run.pool_targets,
                    known=run.split[0],
                    left_out=run.split[1],
                    device=run.device,
                )
            except DivergedError:
                self.trials[key] = None
        error = self.trials[key]
        return math.inf if error is None else error

    def _run(self, place: Place, optimiser: Trained, factor: float) -> Run:
        pretraining = replace(place.recipe.pretrain, optimiser=optimiser, lr_factor=factor)
        comparing = replace(place.recipe.compare, lr_factors={}, optimisers={})
        recipe = replace(place.recipe, pretrain=pretraining, compare=comparing)
        return Run(recipe, self.base.folder, alike=self.base)

    def _cell(self, place: Place, optimiser: Trained, factor: float, seeds: int) -> Cell:
        run, first = self._run(place, optimiser, factor), self.recipe.seed
        scores: list[Score] = []
        keys = []
        for seed in range(first, first + seeds):
            key = run.graph.key(probe_of(place.method, seed))
            known = self.known.get(key)
            if known is None:
                scores += run.probe_scores(place.method, seed)
            else:
                scores += [s for s in known.scores if s.seed == seed]
            keys.append(key)
        first_known = self.known.get(keys[0])
        if first_known is None:
            facts = run.facts(place.method)
        else:  # without the run's folder, asking would make the set again
            facts = {"bytes": first_known.bytes, "steps": first_known.steps}
        network = self.recipe.pretrain.network
        cell = Cell(
            method=place.method,
            network=f"{network.name} {network.width or ''}".strip(),
            axis=place.axis,
            budget=place.budget,
            optimiser=optimiser,
            lr_factor=factor,
            bytes=facts.get("bytes", 0),
            steps=facts.get("steps", 0),
            error=0.0,
            best=True,
            scores=tuple(scores),
            keys=tuple(keys),
        )
        self.known |= dict.fromkeys(keys, cell)
        return cell
