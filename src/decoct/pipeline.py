"""Which stage needs which: a recipe, carried out in a folder from cache where nothing changed."""

from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from decoct import stages, storage
from decoct.data.images import Images
from decoct.data.sources import fingerprint, load_images
from decoct.data.tasks import Task, load_task
from decoct.device import resolve_device
from decoct.distilled import DistilledSet, TrainingRule, resolve_size, versions
from decoct.distillers.mkdt import mkdt
from decoct.encoder import Encoder
from decoct.experts import difficulty, train_experts
from decoct.pretrain import PretrainConfig, fresh_encoder, pretrain
from decoct.probe import ProbeScore, probe
from decoct.recipe import Recipe
from decoct.scores import Score, Scores
from decoct.stages import Stages
from decoct.subsets.high_loss import high_loss_subset
from decoct.subsets.random import random_subset
from decoct.targets import Targets, compute_targets
from decoct.teachers.pretrained import load_teacher
from decoct.teachers.training import train_teacher
from decoct.trajectories import Trajectories


class Run:
    """One recipe in one folder; each property is a stage, made when it is asked for."""

    def __init__(self, recipe: Recipe, folder: Path | str) -> None:
        self.recipe, self.folder = recipe, Path(folder)
        self.device = resolve_device(recipe.device)
        self.stages = Stages(self.folder)
        storage.write_text(self.folder / "recipe.yaml", recipe.to_yaml())

    @cached_property
    def images(self) -> Images:
        """The unlabelled pool."""
        config = self.recipe.images
        source = self.recipe.source(config.source)

        def make(path: Path) -> None:
            load_images(source, size=config.size, channels=config.channels).save(path)

        return Images.load(
            self.stages.artefact(
                "images", self._images_key, file="images.safetensors", kind="images", make=make
            )
        )

    @cached_property
    def tasks(self) -> list[Task]:
        """The labelled sets that encoders are judged by."""
        config = self.recipe.images
        sources = map(self.recipe.source, self.recipe.compare.tasks)
        return [load_task(s, size=config.size, channels=config.channels) for s in sources]

    @cached_property
    def teacher(self) -> Encoder:
        """The network whose representations are distilled."""
        config = self.recipe.teacher
        if not config.train:
            return load_teacher(
                self.recipe.source(config.source), images=self.images, network=config.ssl.network,
                size=config.size or None,
            )  # fmt: skip

        def make(path: Path) -> None:
            train_teacher(
                images=self.images, config=config.ssl, seed=self.recipe.seed, device=self.device,
                state=stages.state(path), metrics=stages.metrics(path),
            ).save(path)  # fmt: skip

        return Encoder.load(
            self.stages.artefact(
                "teacher", self._teacher_key, file="teacher.safetensors", kind="encoder", make=make
            )
        )

    @property
    def has_teacher(self) -> bool:
        """False where the targets were made elsewhere, and so nothing can embed a task."""
        return not self.recipe.targets.source

    @cached_property
    def targets(self) -> Targets:
        """What the teacher says of every image."""
        config = self.recipe.targets
        config = replace(config, source=self.recipe.source(config.source))

        def make(path: Path) -> None:
            compute_targets(
                images=self.images, teacher=self.teacher if self.has_teacher else None,
                config=config, device=self.device,
            ).save(path)  # fmt: skip

        return Targets.load(
            self.stages.artefact(
                "targets", self._targets_key, file="targets.safetensors", kind="targets", make=make
            )
        )

    @cached_property
    def trajectories(self) -> Trajectories:
        """The experts' parameters, epoch by epoch."""
        images, targets = self.images, self.targets
        folder = self.stages.path("experts", self._experts_key)
        with self.stages.timed("experts", folder):
            return train_experts(
                images=images, targets=targets, folder=folder, config=self.recipe.experts,
                seed=self.recipe.seed, device=self.device,
            )  # fmt: skip

    @cached_property
    def difficulty(self) -> Tensor:
        """How hard students find each image: N."""

        def make(path: Path) -> None:
            values = difficulty(
                images=self.images, targets=self.targets, trajectories=self.trajectories,
                device=self.device,
            )  # fmt: skip
            storage.save_tensors(path, {"difficulty": values}, kind="difficulty", meta={})

        path = self.stages.artefact(
            "difficulty", self._trajectories_key, file="difficulty.safetensors",
            kind="difficulty", make=make,
        )  # fmt: skip
        return storage.load_tensors(path, kind="difficulty")[0]["difficulty"]

    def distilled(self, method: str, seed: int) -> DistilledSet:
        """The set of one method: synthetic for mkdt, real images for the others."""

        def make(path: Path) -> None:
            if method != "mkdt":
                self._real(method, self._selection(method, seed)).save(path)
                return
            config = self.recipe.distill
            mkdt(
                images=self.images, targets=self.targets, trajectories=self.trajectories,
                start=self._selection(config.start, seed), config=config, seed=seed,
                device=self.device, state=stages.state(path), metrics=stages.metrics(path),
            ).save(path)  # fmt: skip

        if method == "full":  # as large as the pool: not worth a file
            return self._real(method, self._selection(method, seed))
        return DistilledSet.load(
            self.stages.artefact(
                f"{method}-seed{seed}", self._set_key(method, seed),
                file="distilled.safetensors", kind="distilled", make=make,
            )
        )  # fmt: skip

    def encoder(self, method: str, seed: int) -> Encoder:
        """The encoder that a method ends in."""
        if method == "teacher":
            return self.teacher
        images = self.images
        if method == "none":
            return fresh_encoder(
                self.recipe.pretrain.network, mean=images.mean, std=images.std, size=images.size,
                outputs=self.targets.dimensions, seed=seed,
            )  # fmt: skip

        def make(path: Path) -> None:
            pretrain(
                distilled=self.distilled(method, seed), config=self._pretraining(method),
                seed=seed, device=self.device,
            ).save(path)  # fmt: skip

        return Encoder.load(
            self.stages.artefact(
                f"encoder-{method}-seed{seed}", self._encoder_key(method, seed),
                file="encoder.safetensors", kind="encoder", make=make,
            )
        )  # fmt: skip

    def probe_scores(self, method: str, seed: int) -> list[Score]:
        """A method's accuracies on every task, with one seed's labelled examples."""

        def make(path: Path) -> None:
            encoder, found = self.encoder(method, seed), []
            for task in self.tasks:
                found += probe(
                    encoder=encoder, task=task, config=self.recipe.probe, seed=seed,
                    device=self.device,
                )  # fmt: skip
            storage.save_json(path, {"scores": [asdict(s) for s in found]}, kind="probe")

        key = storage.digest(self._encoder_key(method, seed), self.recipe.probe, self._tasks_key)
        path = self.stages.artefact(
            f"probe-{method}-seed{seed}", key, file="probe.json", kind="probe", make=make
        )
        content = storage.load_json(path, kind="probe")["scores"]
        return [Score(method=method, seed=seed, **asdict(ProbeScore(**s))) for s in content]

    def compare(self) -> Scores:
        """Every method, with every seed, on every task: also written to `scores.json`."""
        methods = [
            m for m in self.recipe.compare.methods if m != "teacher" or self.has_teacher
        ]  # fmt: skip
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
        content = {"stages": self.stages.used, "seconds": self.stages.seconds(), **versions()}
        storage.save_json(self.folder / "run.json", content, kind="run")

    def _selection(self, method: str, seed: int) -> Tensor:
        if method == "full":
            return torch.arange(len(self.images))
        count = self._count
        if method == "high-loss":
            return high_loss_subset(difficulty=self.difficulty, count=count)
        return random_subset(total=len(self.images), count=count, seed=seed)

    @property
    def _count(self) -> int:
        recipe = self.recipe
        return resolve_size(size=recipe.size, fraction=recipe.fraction, total=len(self.images))

    def _real(self, method: str, index: Tensor) -> DistilledSet:
        """Real images and their targets, under the same roof as synthetic ones."""
        rule = TrainingRule(
            lr=self.recipe.compare.lr, momentum=0.9, weight_decay=1e-4,
            batch=self.recipe.distill.batch,
        )  # fmt: skip
        return DistilledSet(
            images=self.images.normalised(index), targets=self.targets.values[index],
            mean=self.images.mean, std=self.images.std, rule=rule, method=method, index=index,
            network=self.recipe.experts.network, story=versions(),
        )  # fmt: skip

    def _pretraining(self, method: str) -> PretrainConfig:
        config = self.recipe.pretrain
        return replace(config, epochs=self.recipe.compare.full_epochs) if method == "full" else config

    def _facts(self, method: str) -> dict[str, int]:
        """How many images a method keeps, their bytes with the targets, and its training steps."""
        if method in ("none", "teacher"):
            return {}
        images = self.images
        count = len(images) if method == "full" else self._count
        pixels = count * images.channels * images.size**2
        batches = -(-count // self.recipe.distill.batch)
        return {
            "images": count,
            "bytes": pixels * (4 if method == "mkdt" else 1) + 4 * count * self.targets.dimensions,
            "steps": batches * self._pretraining(method).epochs,
        }

    def _fingerprint(self, source: str) -> str:
        return fingerprint(self.recipe.source(source))

    @cached_property
    def _images_key(self) -> str:
        return storage.digest(self.recipe.images, self._fingerprint(self.recipe.images.source))

    @cached_property
    def _tasks_key(self) -> str:
        return storage.digest([self._fingerprint(task) for task in self.recipe.compare.tasks])

    @cached_property
    def _teacher_key(self) -> str:
        teacher = self.recipe.teacher
        return storage.digest(
            self._images_key, teacher, self._fingerprint(teacher.source), self.recipe.seed
        )

    @cached_property
    def _targets_key(self) -> str:
        targets = self.recipe.targets
        made_from = self._fingerprint(targets.source) if targets.source else self._teacher_key
        return storage.digest(self._images_key, targets, made_from)

    @cached_property
    def _experts_key(self) -> str:
        config = asdict(self.recipe.experts)
        del config["count"]  # expert k is the same however many there are
        return storage.digest(self._targets_key, config, self.recipe.seed)

    @cached_property
    def _trajectories_key(self) -> str:
        return storage.digest(self._experts_key, self.recipe.experts.count)

    def _set_key(self, method: str, seed: int) -> str:
        recipe = self.recipe
        size = (recipe.size, recipe.fraction, seed)
        if method == "mkdt":
            return storage.digest(self._trajectories_key, recipe.distill, size)
        made_from = self._trajectories_key if method == "high-loss" else self._targets_key
        rule = (recipe.compare.lr, recipe.distill.batch)
        return storage.digest(made_from, method, rule, size)

    def _encoder_key(self, method: str, seed: int) -> str:
        if method == "teacher":
            return self._teacher_key
        if method == "none":
            network = self.recipe.pretrain.network
            return storage.digest(self._targets_key, network, seed)
        return storage.digest(self._set_key(method, seed), self._pretraining(method), seed)
