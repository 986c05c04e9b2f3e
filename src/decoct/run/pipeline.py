"""Every method of a comparison, from its set to its accuracies: cached where nothing changed."""

import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, TrainingRule, resolve_size, versions
from decoct.artefacts.encoder import Encoder
from decoct.core import storage
from decoct.data.stored_views import NUMBERS
from decoct.evaluation.probe import ProbeScore, probe
from decoct.evaluation.scores import Score, Scores
from decoct.methods.high_loss import high_loss_subset
from decoct.methods.krr_st import krr_st
from decoct.methods.mkdt import mkdt
from decoct.methods.mtt_ssl import mtt_ssl
from decoct.methods.random import random_subset
from decoct.methods.subsets import BY_TARGETS, subset_by_targets
from decoct.methods.views import Label, stored_views
from decoct.run import folder as stages
from decoct.run.materials import Materials
from decoct.run.recipe import EQUAL_STEPS, ON_ALL, SYNTHETIC
from decoct.training.pretrain import fresh_encoder, pretrain, pretrain_on_all
from decoct.training.ssl_pretrain import SSL_METHODS, pretrain_by_ssl


class Run(Materials):
    """One recipe in one folder; each method's set, encoder and accuracies is a stage."""

    def save_recipe(self) -> None:
        """Write the resolved recipe into the folder."""
        storage.write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())

    def distilled(self, method: str, seed: int) -> DistilledSet:
        """The set of one method: synthetic for distillers, a few real images for the others."""

        def make(path: Path) -> None:
            found = self._make_set(method, seed, path)
            if found.index is not None:  # rows of what is learnt from; people count in their pool
                found = replace(found, index=self.split[0][found.index])
            found.save(path, uint8=method == "views")  # which are real pixels

        return DistilledSet.load(
            self.stages.artefact(
                f"{method}-seed{seed}",
                self.keys.distilled(method, seed),
                file="distilled.safetensors",
                kind="distilled",
                make=make,
            )
        )

    def _make_set(self, method: str, seed: int, path: Path) -> DistilledSet:
        recipe = self.recipe
        if method == "views":
            found = stored_views(
                images=self.images,
                start=self._selection(recipe.views.start, seed),
                label=self._label,
                rule=self._rule,
                config=recipe.views,
                seed=seed,
                device=self.device,
            )
            asked = recipe.assistant if recipe.views.labels == "assistant" else recipe.experts
            return replace(found, network=asked.network)
        if method not in SYNTHETIC:
            return self._real(method, self._selection(method, seed))
        begin = recipe.distill.start if method == "mkdt" else "random"
        common: dict[str, Any] = {
            "images": self.images,
            "start": self._selection(begin, seed),
            "seed": seed,
            "device": self.device,
            "state": stages.state(path),
            "metrics": stages.metrics(path),
        }
        if method == "mtt-ssl":
            return mtt_ssl(
                trajectories=self.ssl_trajectories,
                config=recipe.mtt_ssl,
                matching=recipe.distill,
                **common,
            )
        if method == "krr-st":
            return krr_st(targets=self.targets, config=recipe.krr_st, rule=self._rule, **common)
        return mkdt(
            targets=self.targets, trajectories=self.trajectories, config=recipe.distill, **common
        )

    def encoder(self, method: str, seed: int) -> Encoder:
        """The encoder that a method ends in."""
        if method == "teacher":
            return self.teacher
        images = self.images
        if method == "none":
            return fresh_encoder(
                self.recipe.pretrain.network,
                mean=images.mean,
                std=images.std,
                size=images.size,
                outputs=self.targets.dimensions,
                seed=seed,
            )

        def make(path: Path) -> None:
            self.pretrained(method, seed, path=path).save(path)

        return Encoder.load(
            self.stages.artefact(
                f"encoder-{method}-seed{seed}",
                self.keys.encoder(method, seed),
                file="encoder.safetensors",
                kind="encoder",
                make=make,
            )
        )

    def probe_scores(self, method: str, seed: int) -> list[Score]:
        """A method's accuracies on every task, with one seed's labelled examples."""

        def make(path: Path) -> None:
            encoder, found = self.encoder(method, seed), []
            for task in self.tasks:
                found += probe(
                    encoder=encoder,
                    task=task,
                    config=self.recipe.probe,
                    seed=seed,
                    device=self.device,
                )
            storage.save_json(path, {"scores": [asdict(s) for s in found]}, kind="probe")

        path = self.stages.artefact(
            f"probe-{method}-seed{seed}",
            self.keys.probe(method, seed),
            file="probe.json",
            kind="probe",
            make=make,
        )
        content = storage.load_json(path, kind="probe")["scores"]
        return [Score(method=method, seed=seed, **asdict(ProbeScore(**s))) for s in content]

    def compare(self) -> Scores:
        """Every method, with every seed, on every task: also written to `scores.json`."""
        self.save_recipe()
        methods = [m for m in self.recipe.compare.methods if m != "teacher" or self.has_teacher]
        scores = [s for seed in self.seeds for m in methods for s in self.probe_scores(m, seed)]
        result = Scores(tuple(scores), {m: self._facts(m) for m in methods})
        result.save(self.folder / "scores.json")
        return result

    @property
    def seeds(self) -> range:
        """Each seed chooses a set, initialises an encoder and draws labelled examples."""
        return range(self.recipe.seed, self.recipe.seed + self.recipe.compare.seeds)

    def save_manifest(self) -> None:
        """Write which stage is in which folder, and its seconds: what the report reads."""
        for label, key in self.keys.all(self.seeds):
            if (self.folder / f"{label}-{key}").is_dir():  # done in an earlier run, perhaps
                self.stages.path(label, key)
        content = {"stages": self.stages.used, "seconds": self.stages.seconds(), **versions()}
        content |= {"python": platform.python_version(), "platform": platform.platform()}
        storage.save_json(self.folder / "run.json", content, kind="run")

    def pretrained(self, method: str, seed: int, *, path: Path | None = None) -> Encoder:
        """A freshly pre-trained encoder; `path` is where it will be kept, if anywhere."""
        config = self.recipe.pretraining(method)
        if method in SSL_METHODS:
            return self._by_ssl(method, seed, path)
        if method in ON_ALL:
            return pretrain_on_all(
                images=self.images,
                targets=self.targets,
                rule=self._rule,
                config=config,
                steps=self.recipe.steps(method, len(self.images)),
                seed=seed,
                device=self.device,
            )
        return pretrain(
            distilled=self.distilled(method, seed), config=config, seed=seed, device=self.device
        )

    def _by_ssl(self, method: str, seed: int, path: Path | None) -> Encoder:
        """Self-supervised on all images, or on those that the method random has."""
        images, config = self.images, self.recipe.ssl
        if method == "ssl-random":
            images = images.subset(self._selection("random", seed))
        config = replace(config, lr=self.recipe.pretraining(method).rate * config.lr)
        return pretrain_by_ssl(
            images=images,
            network=self.recipe.pretrain.network,
            config=config,
            steps=self.recipe.steps(method, len(images)),
            seed=seed,
            device=self.device,
            state=stages.state(path) if path else None,
            metrics=stages.metrics(path) if path else None,
        )

    def _selection(self, method: str, seed: int) -> Tensor:
        count = self._count
        if method == "high-loss":
            return high_loss_subset(difficulty=self.difficulty, count=count)
        if method in BY_TARGETS:
            return subset_by_targets(
                method,
                targets=self.targets,
                count=count,
                seed=seed,
                sas=self.recipe.sas,
                device=self.device,
            )
        return random_subset(total=len(self.images), count=count, seed=seed)

    @property
    def _label(self) -> Label:
        """Who says what a view's target is."""
        by, targets = self.recipe.views.labels, self.targets
        if by == "assistant":
            assistant = self.assistant
            return lambda views, rows: assistant.label(views)
        if by == "image":
            return lambda views, rows: targets.values[rows]
        teacher = self.teacher

        def ask(views: Tensor, rows: Tensor) -> Tensor:
            pixels = replace(self.images, pixels=(views * 255).round().to(torch.uint8), labels=None)
            return targets.of(teacher.embed(pixels, device=self.device))

        return ask

    @property
    def _count(self) -> int:
        recipe = self.recipe
        return resolve_size(size=recipe.size, fraction=recipe.fraction, total=len(self.images))

    @property
    def _rule(self) -> TrainingRule:
        """How networks are trained on real images."""
        return TrainingRule(
            lr=self.recipe.compare.lr,
            momentum=0.9,
            weight_decay=1e-4,
            batch=self.recipe.distill.batch,
        )

    def _real(self, method: str, index: Tensor) -> DistilledSet:
        """Real images and their targets, under the same roof as synthetic ones."""
        return DistilledSet(
            images=self.images.normalised(index),
            targets=self.targets.values[index],
            mean=self.images.mean,
            std=self.images.std,
            rule=self._rule,
            method=method,
            index=index,
            network=self.recipe.experts.network,
            story=versions(),
        )

    def _facts(self, method: str) -> dict[str, int]:
        """How many images a method keeps, their bytes with the targets, and how long it trains."""
        if method in ("none", "teacher"):
            return {}
        images = self.images
        count = len(images) if method in ON_ALL else self._count
        pixels = count * images.channels * images.size**2
        dimensions = 0 if method in ("mtt-ssl", *SSL_METHODS) else self.targets.dimensions
        described = 4 * dimensions  # bytes beside an image's pixels
        if method == "views":
            described = self.recipe.views.count * (2 * dimensions + NUMBERS)
        facts = {
            "images": count,
            "bytes": pixels * (4 if method in SYNTHETIC else 1) + count * described,
            "steps": self.recipe.steps(method, count),
        }
        if method not in (*SSL_METHODS, *EQUAL_STEPS):  # whose steps are counted otherwise
            facts["epochs"] = self.recipe.pretraining(method).epochs
        return facts
