"""The size of a recipe's data, and the disk and memory that a run takes, summed over its stages."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.filesize import decimal as size_text

from decoct.artefacts.targets import read_representations
from decoct.core.seeding import random_subset
from decoct.data.images import Images
from decoct.data.sources import count_images
from decoct.data.tasks import load_task
from decoct.methods.sizes import Sizes, TaskSize
from decoct.run.recipe import Recipe
from decoct.run.stage import Stage
from decoct.run.unit_costs import stand_in_teacher

_SAMPLE = 128  # images whose compressed size is measured
# Training images, test images and classes of data sets that may not be on this machine.
_KNOWN = {
    "cifar100": (50_000, 10_000, 100),
    "cifar10": (50_000, 10_000, 10),
    "tinyimagenet": (100_000, 10_000, 200),
    "emnist": (112_800, 18_800, 47),
    "fashionmnist": (60_000, 10_000, 10),
    "mnist": (60_000, 10_000, 10),
    "svhn": (73_257, 26_032, 10),
    "stl10": (5_000, 8_000, 10),
    "flowers102": (1_020, 6_149, 102),
    "fgvcaircraft": (3_334, 3_333, 100),
    "dogs": (12_000, 8_580, 120),
    "cub": (5_994, 5_794, 200),
}


def measure_sizes(recipe: Recipe) -> Sizes | None:
    """The counts of a recipe; None if the size of its pool is unknown."""
    pool = pool_count(recipe)
    if pool is None:
        return None
    images = pool - recipe.images.left_out(pool)
    return Sizes(
        pool=pool,
        images=images,
        count=recipe.set_size(images),
        channels=recipe.images.channels,
        size=recipe.images.size,
        dimensions=dimensions_of(recipe),
        student=recipe.experts.network,
        assistant=recipe.assistant.network,
        tasks=tuple(task_size(recipe, task) for task in recipe.compare.tasks),
    )


def sizes_of(recipe: Recipe, images: Images, *, dimensions: int = 0) -> Sizes:
    """The counts of a recipe whose pool is `images`."""
    learnt_from = len(images) - recipe.images.left_out(len(images))
    rows = random_subset(total=len(images), count=min(len(images), _SAMPLE), seed=0)
    return Sizes(
        pool=len(images),
        images=learnt_from,
        count=recipe.set_size(learnt_from),
        channels=images.channels,
        size=images.size,
        dimensions=dimensions,
        student=recipe.experts.network,
        assistant=recipe.assistant.network,
        sample=images.pixels[rows],
    )


def pool_count(recipe: Recipe) -> int | None:
    """N: counted if the pool is on this machine, known for some data sets, otherwise None."""
    config, source = recipe.images, recipe.source(recipe.images.source)
    if _is_remote(source):
        known = _known(source)
        return None if known is None else known.train
    return count_images(source, size=config.size, channels=config.channels)


def task_size(recipe: Recipe, name: str) -> TaskSize | None:
    """The size of a task, found as in `pool_count`."""
    source = recipe.source(name)
    if _is_remote(source):
        return _known(source)
    task = load_task(source, size=recipe.images.size, channels=recipe.images.channels)
    return TaskSize(len(task.train), len(task.test), task.classes)


def disk(stages: Iterable[Stage[Any]], sizes: Sizes) -> dict[str, int]:
    """Bytes on disk by stage, for the stages that need a significant amount."""
    found = {stage.name: stage.disk(sizes) for stage in stages}
    return {name: count for name, count in found.items() if count}


def memory(stages: Iterable[Stage[Any]], sizes: Sizes) -> dict[str, int]:
    """Peak memory in bytes by what holds it; if several stages hold the same, it counts once."""
    found: dict[str, int] = {}
    for stage in stages:
        for name, count in stage.memory(sizes).items():
            found[name] = max(count, found.get(name, 0))
    return found


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def disk_warning(stages: Iterable[Stage[Any]], sizes: Sizes, folder: Path) -> str:
    """A warning if the stages' files do not fit on the disk of `folder`, otherwise empty."""
    needed, free = disk(stages, sizes), free_bytes(folder)
    if sum(needed.values()) <= free:
        return ""
    return (
        f"{' and '.join(needed)} take {size_text(sum(needed.values()))}, but {folder} has "
        f"{size_text(free)} free: choose another folder, or lower experts.count"
    )


def _is_remote(source: str) -> bool:
    place, _, name = source.partition(":")
    return place == "torchvision" or (place == "hf" and not Path(name).exists())


def _known(source: str) -> TaskSize | None:
    if "@" in source:  # a part of a set
        return None
    plain = source.lower().replace("-", "").replace("_", "")
    found = next((sizes for name, sizes in _KNOWN.items() if name in plain), None)
    return None if found is None else TaskSize(*found)


def dimensions_of(recipe: Recipe) -> int:
    """D of the targets."""
    if recipe.targets.components:
        return recipe.targets.components
    if recipe.targets.source:
        return read_representations(Path(recipe.source(recipe.targets.source))).shape[1]
    return stand_in_teacher(recipe).network.feature_count
