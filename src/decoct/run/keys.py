"""What each stage depends on, as a digest: its own settings, and what it was made from."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cached_property

from decoct.core import storage
from decoct.data.fingerprint import fingerprint
from decoct.run.recipe import Recipe
from decoct.training.ssl_pretrain import SSL_METHODS


class Keys:
    """The stages' keys under one recipe; a stage is made afresh when its key changes."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @cached_property
    def images(self) -> str:
        """The pool: its source, as its files stand now, and size."""
        return storage.digest(self.recipe.images, self._files(self.recipe.images.source))

    @cached_property
    def tasks(self) -> str:
        """The labelled sets, as their files stand now."""
        return storage.digest([self._files(source) for source in self.recipe.compare.tasks])

    @cached_property
    def teacher(self) -> str:
        """The teacher."""
        teacher = self.recipe.teacher
        return storage.digest(self.images, teacher, self._files(teacher.source), self.recipe.seed)

    @cached_property
    def targets(self) -> str:
        """The teacher's representations, or a file of them."""
        targets = self.recipe.targets
        made_from = self._files(targets.source) if targets.source else self.teacher
        return storage.digest(self.images, targets, made_from)

    @cached_property
    def experts(self) -> str:
        """The experts' folder: expert k is the same however many there are."""
        config = asdict(self.recipe.experts)
        del config["count"]
        return storage.digest(self.targets, config, self.recipe.seed)

    @cached_property
    def trajectories(self) -> str:
        """All the experts, and so what depends on their number."""
        return storage.digest(self.experts, self.recipe.experts.count)

    @cached_property
    def assistant(self) -> str:
        """The assistant."""
        recipe = self.recipe
        return storage.digest(self.targets, recipe.assistant, recipe.views.augment, recipe.seed)

    @cached_property
    def ssl_experts(self) -> str:
        """The folder of the experts that are trained without targets."""
        config = asdict(self.recipe.experts)
        del config["count"], config["lr"]
        own = self.recipe.mtt_ssl
        return storage.digest(self.images, config, own.objective, own.lr, self.recipe.seed)

    def distilled(self, method: str, seed: int) -> str:
        """A method's set."""
        recipe = self.recipe
        size = (recipe.size, recipe.fraction, seed)
        if method == "full":  # all images, whatever a set's size
            size = (0, 0.0, seed)
        if method == "mkdt":
            return storage.digest(self.trajectories, recipe.distill, size)
        if method == "mtt-ssl":
            matching = (recipe.mtt_ssl.iterations, recipe.distill)
            return storage.digest(self.ssl_experts, recipe.experts.count, matching, size)
        made_from = self.trajectories if method == "high-loss" else self.targets
        rule = (recipe.compare.lr, recipe.distill.batch)
        if method == "views" and recipe.views.labels == "assistant":
            made_from = self.assistant
        sas = (recipe.sas,)
        views = (recipe.views, *(sas if recipe.views.start == "sas" else ()))
        own = {"sas": sas, "krr-st": (recipe.krr_st,), "views": views}.get(method, ())
        return storage.digest(made_from, method, rule, size, *own, *self._split)

    def encoder(self, method: str, seed: int) -> str:
        """A method's encoder."""
        if method == "teacher":
            return self.teacher
        if method == "none":
            return storage.digest(self.targets, self.recipe.pretrain.network, seed)
        if method in SSL_METHODS:
            recipe = self.recipe
            size = (recipe.size, recipe.fraction, recipe.distill.batch)
            return storage.digest(
                self.images,
                method,
                recipe.ssl,
                size,
                recipe.pretraining(method),
                seed,
                *self._split,
            )
        made_from = self.distilled(method, seed)
        return storage.digest(made_from, self.recipe.pretraining(method), seed)

    def probe(self, method: str, seed: int) -> str:
        """A method's accuracies."""
        return storage.digest(self.encoder(method, seed), self.recipe.probe, self.tasks)

    def all(self, seeds: Iterable[int]) -> Iterator[tuple[str, str]]:
        """Every stage, in order, done or not: its label and key."""
        for label in ("images", "teacher", "targets", "experts"):
            yield label, getattr(self, label)
        yield "difficulty", self.trajectories
        yield "ssl-experts", self.ssl_experts
        yield "assistant", self.assistant
        for seed in seeds:
            for method in self.recipe.compare.methods:
                yield f"{method}-seed{seed}", self.distilled(method, seed)
                yield f"encoder-{method}-seed{seed}", self.encoder(method, seed)
                yield f"probe-{method}-seed{seed}", self.probe(method, seed)

    @property
    def _split(self) -> tuple[int, ...]:
        """The seed that chose the images left out, where any are; 0, the usual one, is not said."""
        recipe = self.recipe
        return (recipe.seed,) if recipe.images.holdout and recipe.seed else ()

    def _files(self, source: str) -> str:
        return fingerprint(self.recipe.source(source))
