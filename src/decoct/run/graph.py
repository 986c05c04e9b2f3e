"""`Graph`: the stages of one recipe, and the walks over them: keys, and what is reachable."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.methods.inputs import chooser
from decoct.run.method_stages import encoder_of, label_free_of, method_stages, probe_of
from decoct.run.recipe import Recipe
from decoct.run.stage import Stage
from decoct.run.stages import shared_stages


class Graph:
    """The inputs of a recipe's stages, and the keys under which stages are kept."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._stages: dict[str, Stage[Any]] = {}
        self._keys: dict[str, str] = {}

    @cached_property
    def _shared(self) -> dict[str, Stage[Any]]:
        return {stage.name: stage for stage in shared_stages(self.recipe)}

    def stage(self, name: str) -> Stage[Any]:
        """A stage by its name; raises `DecoctError` if there is no such stage."""
        if name in self._shared:
            return self._shared[name]
        if name not in self._stages:
            method, _, seed = name.rpartition("-seed")
            for use in ("encoder-", "probe-", "label-free-"):
                method = method.removeprefix(use)
            if not seed.isdecimal():
                raise DecoctError(f"there is no stage {name}")
            made = method_stages(self.recipe, method, int(seed))
            self._stages |= {stage.name: stage for stage in made}
        return self._stages[name]

    def key(self, name: str) -> str:
        """The digest of all that a stage depends on: if it changes, the stage is made again."""
        if name not in self._keys:
            stage = self.stage(name)
            self._keys[name] = self._digest(stage, stage.settings)
        return self._keys[name]

    def _choice_key(self, name: str) -> str:
        """As `key`, but only for which images a set holds, not for how they are trained on."""
        stage = self.stage(name)
        return self._digest(stage, ("choice", stage.choice))

    def _digest(self, stage: Stage[Any], settings: object) -> str:
        chosen = {source for need, source in stage.aliases.items() if chooser(need)}
        sources = [
            (
                self._choice_key(source) if source in chosen else self.key(source),
                self.stage(source).read,
            )
            for source in stage.inputs
        ]
        name = stage.name if stage.seed is None else ""
        return storage.digest(name, stage.version, settings, sources)

    def reachable(self, names: Iterable[str]) -> list[Stage[Any]]:
        """The stages that `names` are made from, including themselves, each after its inputs."""
        found: dict[str, Stage[Any]] = {}

        def walk(name: str) -> None:
            if name not in found:
                for source in self.stage(name).inputs:
                    walk(source)
                found[name] = self.stage(name)

        for name in names:
            walk(name)
        return list(found.values())

    def kept(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """The kept stages that `names` are made from, each with the kept ones that it needs.

        In an order in which they can be made.
        """
        below: dict[str, frozenset[str]] = {}  # the kept stages at or right below any stage
        needs = {}
        for stage in self.reachable(names):
            found = frozenset[str]().union(*(below[source] for source in stage.inputs))
            below[stage.name] = found
            if stage.is_kept:
                needs[stage.name] = found
                below[stage.name] = frozenset([stage.name])
        return needs

    def asked_for(self) -> Iterator[str]:
        """The final stages of a run of the recipe: all scores, and without tasks an encoder."""
        recipe = self.recipe
        if not recipe.compare.tasks:
            yield encoder_of(recipe.method, recipe.seed)
        for seed in self.seeds if recipe.judged else ():
            for method in self.methods:
                if recipe.compare.tasks:
                    yield probe_of(method, seed)
                if recipe.images.holdout:
                    yield label_free_of(method, seed)

    @property
    def methods(self) -> list[str]:
        """The methods to compare, without one that needs a missing teacher."""
        recipe = self.recipe
        return [
            name
            for name in recipe.compare.methods
            if recipe.has_teacher or "teacher" not in recipe.configured(name).needs()
        ]

    @property
    def seeds(self) -> range:
        """Each seed chooses a set, initialises an encoder and draws labelled examples."""
        return range(self.recipe.seed, self.recipe.seed + self.recipe.compare.seeds)

    def of_a_run(self) -> list[Stage[Any]]:
        """All stages of a run of the recipe, in an order in which they can be made."""
        return self.reachable(self.asked_for())
