"""Fail early: find what would otherwise fail only hours later."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from decoct.artefacts.targets import read_representations
from decoct.core import seeding
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.tasks import Task, labelled_indices
from decoct.methods.sizes import Sizes
from decoct.models.registry import NetworkConfig, create_network
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe
from decoct.run.sizes import disk_warning, sizes_of


def check_run(graph: Graph, *, images: Images, tasks: Sequence[Task], folder: Path) -> None:
    """Raise `DecoctError` for what would stop a run in `folder` only at a late stage.

    These are: a set that is larger than the pool, or self-supervision on one image; a task whose
    class has fewer images than the labels that are asked for; tasks with equal names; a number of
    targets that differs from that of the images; networks that cannot take the images; more
    principal components than dimensions. Notes if the disk is too small, or the teacher of emoji is
    used for other pictures. Takes a second or two.
    """
    recipe, stages = graph.recipe, graph.of_a_run()
    _check_tasks(recipe, tasks)
    if any(stage.name == "teacher" for stage in stages) and _is_foreign_teacher(recipe):
        note(
            "the teacher in the box has seen only emoji: for other pictures bring one "
            "(--teacher.source timm:NAME), or train one (--teacher.train)"
        )
    found = _check_targets(recipe, images)
    dimensions = recipe.targets.components or found or 1
    sizes = sizes_of(recipe, images, dimensions=dimensions)
    for stage in stages:
        stage.check(sizes)
    networks = [network for stage in stages for network in stage.networks(dimensions)]
    for config, outputs in dict.fromkeys(networks):
        _check_network(sizes, config, outputs)
    if warning := disk_warning(stages, sizes, folder):
        note(warning)


def _check_network(sizes: Sizes, config: NetworkConfig, outputs: int) -> None:
    """Run two images through a network, forward and back."""
    with seeding.seeded(0, "preflight", "step"):
        try:
            network = sizes.network(config, outputs)
            output = network(torch.rand(2, sizes.channels, sizes.size, sizes.size))
            output.square().mean().backward()
        except DecoctError:
            raise
        except Exception as error:  # each network fails in its own way
            reason = " ".join(str(error).split())
            raise DecoctError(
                f"network {config.name} cannot be trained on images of {sizes.size} px ({reason}); "
                "choose another network or images.size"
            ) from error


def _is_foreign_teacher(recipe: Recipe) -> bool:
    """Whether the emoji's teacher would be used for other pictures."""
    teacher = recipe.teacher
    return not teacher.train and teacher.source == "embedded" and recipe.images.source != "emoji"


def _check_tasks(recipe: Recipe, tasks: Sequence[Task]) -> None:
    """The size of a class does not depend on the seed or the draw, so one of each is enough."""
    names = Counter(task.name for task in tasks)
    for name, count in names.items():
        if count > 1:
            raise DecoctError(
                f"{count} tasks are called {name}: their scores would be mixed up; rename a file"
            )
    for task in tasks:
        for fraction in recipe.probe.fractions:
            labelled_indices(task, fraction=fraction, seed=recipe.seed)
        for per_class in recipe.probe.per_class:
            labelled_indices(task, per_class=per_class, seed=recipe.seed)


def _check_targets(recipe: Recipe, images: Images) -> int:
    """The dimensions of the representations; 0 if they are unknown until the teacher exists."""
    config = recipe.targets
    if config.source:
        source = recipe.source(config.source)
        count, dimensions = read_representations(Path(source)).shape
        if count != len(images):
            raise DecoctError(
                f"{source} gives {count} targets for {len(images)} images; there must be one per "
                "image, in the same order"
            )
    elif recipe.teacher.train:
        dimensions = _feature_count(recipe, images)
    else:
        return 0
    if config.components > min(dimensions, len(images)):
        raise DecoctError(
            f"targets.components is {config.components}, but the representations of "
            f"{len(images)} images have {dimensions} dimensions"
        )
    return dimensions


def _feature_count(recipe: Recipe, images: Images) -> int:
    """F of the teacher that will be trained."""
    with seeding.seeded(0, "preflight"):
        network = create_network(
            recipe.teacher.ssl.network, channels=images.channels, size=images.size, outputs=1
        )
    return network.feature_count
