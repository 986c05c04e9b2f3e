"""What a recipe would take: how many of everything, disk and memory."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal as size_text
from torch import Tensor, nn

from decoct.artefacts.distilled import resolve_size
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import read_representations
from decoct.core import seeding
from decoct.core.extras import import_extra
from decoct.core.on_disk import too_large
from decoct.data.images import Images
from decoct.data.sources import count_images
from decoct.data.tasks import load_task
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.methods.mkdt import count_tapes
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.timm_network import timm_network
from decoct.run.recipe import Recipe
from decoct.training.pretrained import load_teacher

# Training images, test images and classes of sets that are not on every machine.
_KNOWN = {
    "cifar100": (50_000, 10_000, 100),
    "cifar10": (50_000, 10_000, 10),
    "tinyimagenet": (100_000, 10_000, 200),
    "fashionmnist": (60_000, 10_000, 10),
    "mnist": (60_000, 10_000, 10),
    "svhn": (73_257, 26_032, 10),
    "stl10": (5_000, 8_000, 10),
    "flowers102": (1_020, 6_149, 102),
    "fgvcaircraft": (3_334, 3_333, 100),
    "dogs": (12_000, 8_580, 120),
    "cub": (5_994, 5_794, 200),
}
_FLOAT = 4  # bytes
_GRAPH = 4.0  # a matching step's peak over the bytes of its activations, as measured on a ConvNet


@dataclass(frozen=True)
class TaskSize:
    """How large a task is."""

    train: int
    test: int
    classes: int


@dataclass(frozen=True)
class Sizes:
    """The counts that a recipe's costs follow from."""

    pool: int  # N
    kept: int  # m
    dimensions: int  # D
    parameters: int  # P of the student, head included
    tasks: tuple[TaskSize | None, ...]  # None: unknown


def trajectory_bytes(recipe: Recipe, parameters: int) -> int:
    """Experts x (epochs + 1) x P x 4: what the trajectories take on disk, and in memory.

    >>> trajectory_bytes(Recipe(), 1_348_608)  # 100 experts of 3 epochs
    2157772800
    """
    return recipe.experts.count * (recipe.experts.epochs + 1) * parameters * _FLOAT


def free_bytes(folder: Path) -> int:
    """Free bytes where a folder is, or will be."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def disk_warning(recipe: Recipe, parameters: int, folder: Path) -> str:
    """A sentence where the trajectories would not fit beside `folder`, else nothing."""
    needed, free = trajectory_bytes(recipe, parameters), free_bytes(folder)
    if needed <= free:
        return ""
    return (
        f"the trajectories take {size_text(needed)}, but {folder} has {size_text(free)} free: "
        "choose another folder, or lower experts.count"
    )


def student(recipe: Recipe, dimensions: int) -> Network:
    """The network whose trajectories are matched, freshly initialised."""
    return new_network(recipe.experts.network, recipe, dimensions)


def ssl_parameters(recipe: Recipe) -> int:
    """P of the students that mtt-ssl matches, head included; 0 where it is not compared."""
    if "mtt-ssl" not in recipe.compare.methods:
        return 0
    return sum(p.numel() for p in student(recipe, recipe.mtt_ssl.objective.projector).parameters())


def measure_sizes(recipe: Recipe) -> Sizes | None:
    """The counts of a recipe; None where nobody can say how many images its pool has."""
    pool = pool_count(recipe)
    if pool is None:
        return None
    dimensions = _dimensions(recipe)
    return Sizes(
        pool=pool,
        kept=resolve_size(
            size=recipe.size, fraction=recipe.fraction, total=pool - recipe.images.left_out(pool)
        ),
        dimensions=dimensions,
        parameters=sum(p.numel() for p in student(recipe, dimensions).parameters()),
        tasks=tuple(task_size(recipe, task) for task in recipe.compare.tasks),
    )


def pool_count(recipe: Recipe) -> int | None:
    """N: counted where the pool is on this machine, known for some sets elsewhere, else None."""
    config, source = recipe.images, recipe.source(recipe.images.source)
    if _is_remote(source):
        known = _known(source)
        return None if known is None else known.train
    return count_images(source, size=config.size, channels=config.channels)


def task_size(recipe: Recipe, name: str) -> TaskSize | None:
    """How large a task is, as `pool_count`."""
    source = recipe.source(name)
    if _is_remote(source):
        return _known(source)
    task = load_task(source, size=recipe.images.size, channels=recipe.images.channels)
    return TaskSize(len(task.train), len(task.test), task.classes)


def memory(recipe: Recipe, sizes: Sizes) -> dict[str, int]:
    """Bytes at the peak, by what holds them."""
    pixels = recipe.images.channels * recipe.images.size**2
    moments = 2 if recipe.distill.optimiser == "adam" else 1
    held = 0 if too_large(sizes.pool * pixels) else sizes.pool * pixels
    learnt = sizes.kept * (pixels + sizes.dimensions) * _FLOAT
    network = student(recipe, sizes.dimensions)
    batch = min(recipe.distill.batch, sizes.kept)
    step = int(_GRAPH * batch * _activations(network, recipe) * _FLOAT)
    gradient = ConvNetGradient(network)
    tapes = count_tapes(gradient, recipe.distill, sizes.kept, recipe.images.size)
    tapes *= gradient.tape_bytes(batch, recipe.images.size)
    path = (recipe.distill.inner_steps + 1) * sizes.parameters * _FLOAT
    found = {
        "pool and targets": held + sizes.pool * _FLOAT * sizes.dimensions,
        "trajectories": trajectory_bytes(recipe, sizes.parameters + ssl_parameters(recipe)),
        "what is learnt, and its optimiser": (3 + moments) * learnt,  # last good, gradient
        f"unroll of {recipe.distill.inner_steps} steps": step + tapes + path,
    }
    if "krr-st" in recipe.compare.methods:
        found["pool and step of krr-st"] = _krr_st_memory(recipe, sizes)
    return found


def _krr_st_memory(recipe: Recipe, sizes: Sizes) -> int:
    """Networks with their momentum, and the activations of the whole set, forward and back."""
    config = recipe.krr_st
    network = new_network(config.network, recipe, sizes.dimensions)
    pool = 2 * config.pool * sum(p.numel() for p in network.parameters())
    return (pool + 2 * sizes.kept * _activations(network, recipe)) * _FLOAT


def _is_remote(source: str) -> bool:
    return source.startswith(("torchvision:", "hf:"))


def _known(source: str) -> TaskSize | None:
    plain = source.lower().replace("-", "").replace("_", "")
    found = next((sizes for name, sizes in _KNOWN.items() if name in plain), None)
    return None if found is None else TaskSize(*found)


def new_network(config: NetworkConfig, recipe: Recipe, outputs: int) -> Network:
    """A freshly initialised network for the recipe's images."""
    images = recipe.images
    with seeding.seeded(0, "estimate", "network"):
        return create_network(config, channels=images.channels, size=images.size, outputs=outputs)


def _dimensions(recipe: Recipe) -> int:
    """D of the targets."""
    if recipe.targets.components:
        return recipe.targets.components
    if recipe.targets.source:
        return read_representations(Path(recipe.source(recipe.targets.source))).shape[1]
    return stand_in_teacher(recipe).network.feature_count


def stand_in_teacher(recipe: Recipe) -> Encoder:
    """The teacher, or a network of its architecture where it is yet to be trained or fetched."""
    config, size, images = recipe.teacher, recipe.images.size, noise_images(recipe, 2)
    if not config.train and not config.source.startswith("timm:"):
        source = recipe.source(config.source)
        return load_teacher(
            source, images=images, network=config.ssl.network, size=config.size or None
        )
    network = config.ssl.network
    if config.train:
        model = new_network(network, recipe, 1)
    else:
        network = NetworkConfig(name=config.source)
        model = timm_network(
            network.name.partition(":")[2], channels=recipe.images.channels, outputs=1
        )
        timm_data: Any = import_extra("timm.data", extra="timm", package="timm")
        size = timm_data.resolve_model_data_config(model.body)["input_size"][-1]
    model.remove_head()
    return Encoder(network=model, config=network, size=size, mean=images.mean, std=images.std)


def noise_images(recipe: Recipe, count: int) -> Images:
    """Random pictures of the recipe's shape, to measure with."""
    shape = (count, recipe.images.channels, recipe.images.size, recipe.images.size)
    draws = seeding.generator(0, "estimate", "images")
    return Images.from_array(torch.randint(256, shape, generator=draws, dtype=torch.uint8))


def _activations(network: Network, recipe: Recipe) -> int:
    """Numbers that the layers put out for one image."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        counts.append(output.numel())

    leaves = [m for m in network.modules() if not list(m.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    with torch.no_grad():
        network.eval()(noise_images(recipe, 2).normalised())
    for hook in hooks:
        hook.remove()
    return sum(counts) // 2
