"""Measure the frontier: every method at several budgets of steps and of bytes.

At each place every method gets the same search: its optimisers and factors on their rates, judged
on held-out pool images alone. The winners are then trained and probed with every seed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path
from typing import ClassVar

from decoct.core.bytes import bytes_of
from decoct.core.console import note
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.settings import Count, Few, Positive, Settings, Some
from decoct.evaluation.scores import REFERENCE, Score
from decoct.evaluation.target_probe import check_left_out
from decoct.methods.registry import method_kind
from decoct.run.budget import size_within
from decoct.run.lock import lock_folder
from decoct.run.method_stages import probe_of
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.run.workers import Job, Workers, run_in_worker, stage_jobs, workers
from decoct.studies.frontier.cells import Cell, Frontier
from decoct.studies.held_out import error_jobs, error_key, held_out_error
from decoct.training.pretrain import Trainer


@dataclass(frozen=True)
class FrontierConfig(Settings):
    """The budgets, and the search that every method gets at each of them."""

    section: ClassVar[str] = "frontier"

    methods: tuple[str, ...] = ()  # empty: those that the recipe compares
    steps: tuple[Count, ...] = (60, 120, 240, 480, 960, 1920, 3840)  # gradient steps
    bytes: tuple[str, ...] = ("0.25MB", "0.5MB", "1MB", "2MB", "4MB", "8MB")  # of sets
    at_steps: tuple[Count, ...] = (480,)  # the lengths at which bytes are varied
    optimisers: Some[Trainer] = ("sgd", "muon")  # that are tried
    lr_factors: Some[Positive] = (0.5, 1.0, 2.0)  # multiply an optimiser's learning rate
    batches: tuple[Count, ...] = ()  # images a step, where steps are given; empty: the recipe's
    seeds: Few = 5  # accuracies are means over them
    learn_each: bool = False  # also learn synthetic sets of every number of bytes

    def __post_init__(self) -> None:
        super().__post_init__()
        for method in self.methods:
            method_kind(method)
        for budget in self.bytes:
            bytes_of(budget)


@dataclass(frozen=True)
class Rule:
    """How the encoders at a place may be trained."""

    optimiser: Trainer
    lr_factor: float
    batch: int  # 0: the recipe's


Errors = dict[Rule, float]  # on held-out images


@dataclass(frozen=True)
class Place:
    """One method at one budget, before a rule is chosen."""

    method: str
    axis: str
    budget: str
    recipe: Recipe  # with the budget's size and length


def frontier(
    *,
    recipe: Recipe,
    folder: Path | str,
    config: FrontierConfig | None = None,
    jobs: int = 1,
) -> Frontier:
    """Measure all places, one seed after the other; also writes `frontier.json` after each.

    Cells that the file already has are kept with all of their seeds, even if the rest of the run's
    folder is gone, so it can be continued on another machine. `jobs` processes share the work.
    Raises `DecoctError` if the recipe holds no images out.
    """
    config, folder = config or FrontierConfig(), Path(folder)
    study = _Study(recipe, folder, config)
    places = study.places()
    if jobs == 1:
        return _measured(study, places)
    with lock_folder(folder), workers(jobs) as pool:
        study.search(places, pool)
        return _measured(study, places, pool)


def _measured(study: "_Study", places: list[Place], pool: Workers | None = None) -> Frontier:
    """The frontier with every place measured; `pool` makes most of what that takes first."""
    seeds = study.config.seeds
    for seed in range(seeds):
        if pool:
            study.train(places, study.recipe.seed + seed, pool)
        for number, place in enumerate(places, 1):
            note(
                f"seed {seed + 1} of {seeds}, place {number} of {len(places)}: "
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
        self.cells = {(c.place, c.optimiser): c for c in old.cells}

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
        for steps, budget in product(self.config.at_steps, self.config.bytes):
            recipe = self.recipe.set("pretrain.steps", steps)
            try:
                size = size_within(
                    bytes_of(budget), recipe=recipe, method=method, images=self.base.pool
                )
            except DecoctError as error:
                note(str(error))
                continue
            yield Place(method, "bytes", budget, recipe.having(size=size))

    def search(self, places: list[Place], pool: Workers) -> None:
        """Try all rules at all places, side by side."""
        jobs: dict[str, Job] = {}
        tried = []
        for place in map(self._decided_at, places):
            for rule in self._to_try(place):
                run = self._run(place, rule)
                key = error_key(run, place.method, self.recipe.seed)
                if key in self.trials or key in jobs:
                    continue
                jobs |= error_jobs(run, place.method, self.recipe.seed, find=_try)
                tried.append(key)
        found = pool.do(jobs, label="rules to try, side by side")
        self.trials |= {key: found[key] for key in tried}
        self.found().save(self.file)

    def train(self, places: list[Place], seed: int, pool: Workers) -> None:
        """Train and probe a seed's encoders side by side; `measure` finds the results."""
        jobs: dict[str, Job] = {}
        for place in places:
            for rule in self._chosen(place):
                run, probed = self._run(place, rule), probe_of(place.method, seed)
                if run.graph.key(probed) not in self.known:
                    jobs |= stage_jobs(run, [probed])
        pool.do(jobs, label=f"stages of seed {seed}, side by side")

    def measure(self, place: Place, *, seeds: int) -> None:
        """Find the scores of a place for the first `seeds` seeds, and save them."""
        chosen = self._chosen(place)
        best = min(chosen, key=lambda rule: chosen[rule], default=None)
        for rule, error in chosen.items():
            cell = self._cell(place, rule, seeds)
            if place.axis == "bytes":  # the rule was chosen at another place
                error = self._error(place, rule)
            cell = replace(cell, error=error, best=rule == best)
            self.cells[cell.place, rule.optimiser] = cell
        self.found().save(self.file)

    def found(self) -> Frontier:
        """The cells, in the order in which they were measured."""
        return Frontier(self.recipe.name, tuple(self.cells.values()), self.trials)

    def _chosen(self, place: Place) -> Errors:
        """The best rule, and where a method has its own length, the best by each optimiser."""
        place = self._decided_at(place)
        errors = {rule: self._error(place, rule) for rule in self._to_try(place)}
        found: Errors = {}
        for rule in sorted(errors, key=lambda rule: errors[rule]):
            new = rule.optimiser not in {other.optimiser for other in found}
            if not math.isinf(errors[rule]) and new and (not found or place.axis == "own"):
                found[rule] = errors[rule]
        return found

    def _decided_at(self, place: Place) -> Place:
        """Where a place's rule is chosen: the number of images hardly moves the rate."""
        if place.axis != "bytes":
            return place
        return self._of_steps(place.method, place.recipe.pretrain.steps)

    def _to_try(self, place: Place) -> list[Rule]:
        """Optimisers, factors on their rates, and batches; a method's own length is in epochs."""
        if not method_kind(place.method).keeps_encoder:
            return [Rule("own", 1.0, 0)]
        batches = self.config.batches if place.axis != "own" else ()
        every = product(self.config.optimisers, self.config.lr_factors, batches or (0,))
        return [Rule(*rule) for rule in every]

    def _error(self, place: Place, rule: Rule) -> float:
        """The error of the first seed's encoder; inf if its training diverged."""
        run = self._run(place, rule)
        key = error_key(run, place.method, self.recipe.seed)
        if key not in self.trials:
            self.trials[key] = _tried(run, place.method, self.recipe.seed)
        error = self.trials[key]
        return math.inf if error is None else error

    def _run(self, place: Place, rule: Rule) -> Run:
        pretraining = replace(
            place.recipe.pretrain, optimiser=rule.optimiser, lr_factor=rule.lr_factor
        )
        comparing = replace(place.recipe.compare, lr_factors={}, optimisers={})
        recipe = replace(place.recipe, pretrain=pretraining, compare=comparing)
        if rule.batch:  # a learnt set keeps the batch that it was learnt for
            recipe = recipe.set("rule.batch", rule.batch)
        return Run(recipe, self.base.folder, alike=self.base)

    def _cell(self, place: Place, rule: Rule, seeds: int) -> Cell:
        run, first = self._run(place, rule), self.recipe.seed
        scores: list[Score] = []
        keys: list[str] = []
        for seed in count(first):
            key = run.graph.key(probe_of(place.method, seed))
            known = self.known.get(key)
            if known is None and seed >= first + seeds:
                break  # what is known of later seeds stays, or a stop here would lose it
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
            optimiser=rule.optimiser,
            lr_factor=rule.lr_factor,
            batch=run.recipe.configured(place.method).training_batch(),
            bytes=facts.get("bytes", 0),
            steps=facts.get("steps", 0),
            error=0.0,
            best=True,
            scores=tuple(scores),
            keys=tuple(keys),
        )
        self.known |= dict.fromkeys(keys, cell)
        return cell


def _try(recipe: Recipe, folder: Path, method: str, seed: int) -> float | None:
    """As `_tried`, in a worker."""
    return _tried(run_in_worker(recipe, folder), method, seed)


def _tried(run: Run, method: str, seed: int) -> float | None:
    """The error of an encoder, which is kept; None if its training diverged."""
    try:
        return held_out_error(run, run.encoder(method, seed))
    except DivergedError:
        return None
