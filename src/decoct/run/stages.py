"""The stage table: what a run makes once for all seeds, each stage in one place.

`method_stages.py` has the stages for one method and one seed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets, compute_targets
from decoct.core import seeding
from decoct.core.on_disk import too_large
from decoct.core.place import Place
from decoct.core.seeding import random_subset
from decoct.data.fingerprint import fingerprint
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.data.tasks import Task, load_task, task_name
from decoct.methods.inputs import Inputs
from decoct.methods.method import FLOAT
from decoct.methods.sizes import Sizes
from decoct.methods.units import ssl_step, training_step
from decoct.run.expert_stages import difficulty, experts, ssl_experts
from decoct.run.recipe import Recipe
from decoct.run.stage import ANY_NUMBER, LEARNT, Artefact, Stage
from decoct.run.unit_costs import embedding
from decoct.training.assistant import train_assistant
from decoct.training.pretrained import load_teacher, teacher_fingerprint
from decoct.training.teacher import train_teacher

Split = tuple[Tensor, Tensor]  # rows of the pool (int64, increasing): for training, and held out


def shared_stages(recipe: Recipe) -> list[Stage[Any]]:
    """What is made once for all seeds, in an order in which it can be made."""
    makers: list[Callable[[Recipe], Stage[Any]]] = [
        _images,
        _split,
        _images_learnt_from,
        _tasks,
        _teacher,
        _targets,
        _targets_learnt_from,
        experts,
        difficulty,
        ssl_experts,
        _assistant,
    ]  # in this order
    return [make(recipe) for make in makers]


def _images(recipe: Recipe) -> Stage[Images]:
    """The pool: all unlabelled images, including those held out."""
    config, source = recipe.images, recipe.source(recipe.images.source)

    def make(inputs: Inputs, place: Place) -> Images:
        file = place.folder and place.folder / "images.safetensors"
        return load_images(source, size=config.size, channels=config.channels, file=file)

    def written(images: Images, path: Path) -> None:
        """Already written while it was read, as it may be larger than memory."""

    def memory(sizes: Sizes) -> Mapping[str, int]:
        count = sizes.pool * sizes.pixels
        return {"pool": 0 if too_large(count) else count}

    return Stage(
        name="images",
        inputs=(),
        settings=(config.size, config.channels, fingerprint(source)),
        make=make,
        artefact=Artefact("images.safetensors", "images", Images.load, written),
        memory=memory,
    )


def _split(recipe: Recipe) -> Stage[Split]:
    def make(inputs: Inputs, place: Place) -> Split:
        pool: Images = inputs.get("images")
        count = recipe.images.left_out(len(pool))
        seed = seeding.derive(recipe.seed, "holdout")
        out = torch.zeros(len(pool), dtype=torch.bool)
        out[random_subset(total=len(pool), count=count, seed=seed)] = True
        return (~out).nonzero().flatten(), out.nonzero().flatten()

    holdout = recipe.images.holdout
    settings = (holdout, recipe.seed if holdout else 0)
    return Stage(name="split", inputs=("images",), settings=settings, make=make)


def _images_learnt_from(recipe: Recipe) -> Stage[Images]:
    def make(inputs: Inputs, place: Place) -> Images:
        pool: Images = inputs.get("images")
        kept, left_out = inputs.get("split")
        return pool.part(kept) if len(left_out) else pool

    return Stage(name=LEARNT["images"], inputs=("images", "split"), settings=(), make=make)


def _tasks(recipe: Recipe) -> Stage[list[Task]]:
    sources, config = list(map(recipe.source, recipe.compare.tasks)), recipe.images

    def make(inputs: Inputs, place: Place) -> list[Task]:
        return [load_task(s, size=config.size, channels=config.channels) for s in sources]

    named = [(task_name(source), fingerprint(source)) for source in sources]
    settings = (named, config.size, config.channels)
    return Stage(name="tasks", inputs=(), settings=settings, make=make)


def _teacher(recipe: Recipe) -> Stage[Encoder]:
    """The network whose representations are distilled."""
    config, source = recipe.teacher, recipe.source(recipe.teacher.source)

    def brought(inputs: Inputs, place: Place) -> Encoder:
        return load_teacher(
            source,
            images=inputs.get("images"),
            network=config.ssl.network,
            size=config.size or None,
        )

    def trained(inputs: Inputs, place: Place) -> Encoder:
        return train_teacher(
            images=inputs.images,
            config=config.ssl,
            seed=recipe.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    load_own = partial(Encoder.load, trusted=True)  # the recipe says which network
    if not config.train:
        settings = (teacher_fingerprint(source), config.size, config.ssl.network)
        return Stage(name="teacher", inputs=("images",), settings=settings, make=brought)
    return Stage(
        name="teacher",
        inputs=(LEARNT["images"],),
        aliases={"images": LEARNT["images"]},
        settings=(config.ssl, recipe.seed),
        make=trained,
        artefact=Artefact("teacher.safetensors", "encoder", load_own, Encoder.save),
        work=lambda sizes: {ssl_step(config.ssl): config.ssl.seen(sizes.images)},
        networks=lambda dimensions: ((config.ssl.network, 1),),
        parts=config.ssl.batch,
    )


def _targets(recipe: Recipe) -> Stage[Targets]:
    """The teacher's representation of every image of the pool, or those from a file."""
    source = recipe.source(recipe.targets.source)
    config = replace(recipe.targets, source=source)
    settings = (config.components, config.scaling)

    def make(inputs: Inputs, place: Place) -> Targets:
        teacher = None if source else inputs.teacher
        return compute_targets(
            images=inputs.get("images"), teacher=teacher, config=config, device=place.device
        )

    return Stage(
        name="targets",
        inputs=("images",) if source else ("images", "teacher"),
        settings=(*settings, fingerprint(source)) if source else settings,
        make=make,
        artefact=Artefact("targets.safetensors", "targets", Targets.load, Targets.save),
        work=lambda sizes: {} if source else {embedding(recipe): sizes.pool},
        memory=lambda sizes: {"targets": sizes.pool * sizes.dimensions * FLOAT},
        parts=1 if source else ANY_NUMBER,
    )


def _targets_learnt_from(recipe: Recipe) -> Stage[Targets]:
    def make(inputs: Inputs, place: Place) -> Targets:
        kept, left_out = inputs.get("split")
        return inputs.targets.part(kept) if len(left_out) else inputs.targets

    return Stage(name=LEARNT["targets"], inputs=("targets", "split"), settings=(), make=make)


def _assistant(recipe: Recipe) -> Stage[Assistant]:
    """The small network that labels views."""
    config, augment = recipe.assistant, recipe.views.augment

    def make(inputs: Inputs, place: Place) -> Assistant:
        return train_assistant(
            images=inputs.images,
            targets=inputs.targets,
            config=config,
            augment=augment,
            seed=recipe.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    load_own = partial(Assistant.load, trusted=True)
    return Stage(
        name="assistant",
        inputs=tuple(LEARNT.values()),
        aliases=LEARNT,
        settings=(config, augment, recipe.seed),
        make=make,
        artefact=Artefact("assistant.safetensors", "assistant", load_own, Assistant.save),
        work=lambda sizes: {
            training_step(config.network, config.batch): config.epochs * sizes.images
        },
        networks=lambda dimensions: ((config.network, dimensions),),
        parts=config.batch,
    )
