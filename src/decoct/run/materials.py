"""What every method is made from: images, targets, experts; found in a run's folder, or made."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets, compute_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import seeding, storage
from decoct.core.device import resolve_device
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.data.tasks import Task, load_task
from decoct.methods.mtt_ssl import train_ssl_experts
from decoct.methods.random import random_subset
from decoct.run import folder as stages
from decoct.run.folder import Stages
from decoct.run.keys import Keys
from decoct.run.preflight import check_run
from decoct.run.recipe import Recipe
from decoct.training.assistant import Assistant, train_assistant
from decoct.training.experts import difficulty, train_experts
from decoct.training.pretrained import load_teacher
from decoct.training.teacher import train_teacher


class Materials:
    """One recipe in one folder; each property is a stage, made when it is asked for."""

    def __init__(self, recipe: Recipe, folder: Path | str) -> None:
        self.recipe, self.folder = recipe, Path(folder)
        self.device = resolve_device(recipe.device)
        self.keys, self.stages = Keys(recipe), Stages(self.folder)

    @cached_property
    def pool(self) -> Images:
        """All unlabelled images, those left out among them."""
        config = self.recipe.images
        source = self.recipe.source(config.source)

        def make(path: Path) -> None:
            load_images(source, size=config.size, channels=config.channels, file=path)

        return Images.load(
            self.stages.artefact(
                "images", self.keys.images, file="images.safetensors", kind="images", make=make
            )
        )

    @cached_property
    def split(self) -> tuple[Tensor, Tensor]:
        """Rows of the pool (int64, increasing): those that are learnt from, and those left out."""
        total = len(self.pool)
        count = self.recipe.images.left_out(total)
        seed = seeding.derive(self.recipe.seed, "holdout")
        out = torch.zeros(total, dtype=torch.bool)
        out[random_subset(total=total, count=count, seed=seed)] = True
        return (~out).nonzero().flatten(), out.nonzero().flatten()

    @cached_property
    def images(self) -> Images:
        """The images that everything is learnt from: the pool but for what is left out."""
        kept, left_out = self.split
        return self.pool.part(kept) if len(left_out) else self.pool

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
                self.recipe.source(config.source),
                images=self.images,
                network=config.ssl.network,
                size=config.size or None,
            )

        def make(path: Path) -> None:
            train_teacher(
                images=self.images,
                config=config.ssl,
                seed=self.recipe.seed,
                device=self.device,
                state=stages.state(path),
                metrics=stages.metrics(path),
            ).save(path)

        return Encoder.load(
            self.stages.artefact(
                "teacher", self.keys.teacher, file="teacher.safetensors", kind="encoder", make=make
            )
        )

    def check(self) -> None:
        """Refuse what cannot work before hours are spent on it."""
        check_run(self.recipe, images=self.pool, tasks=self.tasks, folder=self.folder)

    @property
    def has_teacher(self) -> bool:
        """False where the targets were made elsewhere, and so nothing can embed a task."""
        return not self.recipe.targets.source

    @cached_property
    def targets(self) -> Targets:
        """What the teacher says of every image that is learnt from."""
        kept, left_out = self.split
        return self.pool_targets.part(kept) if len(left_out) else self.pool_targets

    @cached_property
    def pool_targets(self) -> Targets:
        """What the teacher says of every image of the pool."""
        config = self.recipe.targets
        config = replace(config, source=self.recipe.source(config.source))

        def make(path: Path) -> None:
            compute_targets(
                images=self.pool,
                teacher=self.teacher if self.has_teacher else None,
                config=config,
                device=self.device,
            ).save(path)

        return Targets.load(
            self.stages.artefact(
                "targets", self.keys.targets, file="targets.safetensors", kind="targets", make=make
            )
        )

    @cached_property
    def trajectories(self) -> Trajectories:
        """The experts' parameters, epoch by epoch."""
        images, targets = self.images, self.targets
        folder = self.stages.path("experts", self.keys.experts)
        with self.stages.timed("experts", folder):
            return train_experts(
                images=images,
                targets=targets,
                folder=folder,
                config=self.recipe.experts,
                seed=self.recipe.seed,
                device=self.device,
            )

    @cached_property
    def assistant(self) -> Assistant:
        """The small network that says what a view's target is."""
        images, targets = self.images, self.targets

        def make(path: Path) -> None:
            train_assistant(
                images=images,
                targets=targets,
                config=self.recipe.assistant,
                views=self.recipe.views.augment,
                seed=self.recipe.seed,
                device=self.device,
                state=stages.state(path),
                metrics=stages.metrics(path),
            ).save(path)

        return Assistant.load(
            self.stages.artefact(
                "assistant",
                self.keys.assistant,
                file="assistant.safetensors",
                kind="assistant",
                make=make,
            )
        )

    @cached_property
    def ssl_trajectories(self) -> Trajectories:
        """As `trajectories`, of experts that train by self-supervision: what mtt-ssl matches."""
        images, folder = self.images, self.stages.path("ssl-experts", self.keys.ssl_experts)
        with self.stages.timed("ssl-experts", folder):
            return train_ssl_experts(
                images=images,
                folder=folder,
                config=self.recipe.mtt_ssl,
                experts=self.recipe.experts,
                seed=self.recipe.seed,
                device=self.device,
            )

    @cached_property
    def difficulty(self) -> Tensor:
        """How hard students find each image: N."""

        def make(path: Path) -> None:
            values = difficulty(
                images=self.images,
                targets=self.targets,
                trajectories=self.trajectories,
                device=self.device,
            )
            storage.save_tensors(path, {"difficulty": values}, kind="difficulty", meta={})

        path = self.stages.artefact(
            "difficulty",
            self.keys.trajectories,
            file="difficulty.safetensors",
            kind="difficulty",
            make=make,
        )
        return storage.load_tensors(path, kind="difficulty")[0]["difficulty"]
