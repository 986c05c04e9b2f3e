"""What a recipe would take: disk, memory, and time from a few seconds of measuring."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from decoct import seeding
from decoct.data.images import Images
from decoct.data.sources import find_idx, load_images
from decoct.data.tasks import load_task
from decoct.distilled import resolve_size
from decoct.distillers.unroll import distillation_loss, matching_gradient
from decoct.encoder import Encoder
from decoct.extras import import_extra
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.timm_network import timm_network
from decoct.probe import probe_accuracy
from decoct.recipe import Recipe
from decoct.targets import read_representations
from decoct.teachers.pretrained import load_teacher
from decoct.teachers.training import train_teacher

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
_GRAPH = 5.5  # a matching step's peak over the bytes of its activations, as measured on a ConvNet
_SEARCHED_RATES = 3 * 7  # experts times rates that the search for the first rate tries, about


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


def student(recipe: Recipe, dimensions: int) -> Network:
    """The network whose trajectories are matched, freshly initialised."""
    return _network(recipe.experts.network, recipe, dimensions)


def measure_sizes(recipe: Recipe) -> Sizes | None:
    """The counts of a recipe; None where nobody can say how many images its pool has."""
    pool = pool_count(recipe)
    if pool is None:
        return None
    dimensions = _dimensions(recipe)
    return Sizes(
        pool=pool,
        kept=resolve_size(size=recipe.size, fraction=recipe.fraction, total=pool),
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
    path = Path(source)
    if path.is_dir() and find_idx(path, "train") is None:
        extensions = Image.registered_extensions()
        return sum(file.suffix.lower() in extensions for file in path.rglob("*"))
    return len(load_images(source, size=config.size, channels=config.channels))


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
    copies = 2 + 1 + (2 if recipe.distill.optimiser == "adam" else 1)  # last good, gradient, moments
    network = student(recipe, sizes.dimensions)
    batch = min(recipe.distill.batch, sizes.kept)
    graph = _GRAPH * batch * _activations(network, recipe) * _FLOAT
    found = {
        "pool and targets": sizes.pool * (pixels + _FLOAT * sizes.dimensions),
        "trajectories": trajectory_bytes(recipe, sizes.parameters),
        "what is learnt, and its optimiser": copies * sizes.kept * (pixels + sizes.dimensions) * _FLOAT,
        f"unroll of {recipe.distill.inner_steps} steps": int(
            graph + (recipe.distill.inner_steps + 1) * sizes.parameters * _FLOAT
        ),
    }  # fmt: skip
    if recipe.compare.tasks and "full" in recipe.compare.methods:
        found["full data as floats"] = sizes.pool * pixels * _FLOAT
    return found


def stage_seconds(recipe: Recipe, sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Seconds by stage: the time of a few steps here, times how many there are."""
    unit = _Units(recipe, sizes, device)
    compare, distill, m, n = recipe.compare, recipe.distill, sizes.kept, sizes.pool
    methods = compare.methods if compare.tasks else ("mkdt",)
    seeds = compare.seeds if compare.tasks else 1
    found: dict[str, float] = {}
    if not recipe.targets.source:
        if recipe.teacher.train:
            found["teacher"] = recipe.teacher.ssl.epochs * n * unit.ssl_step()
        found["targets"] = n * unit.represent_by_teacher()
    found["experts"] = recipe.experts.count * recipe.experts.epochs * n * unit.expert_step()
    if "high-loss" in (*methods, distill.start):
        found["difficulty"] = recipe.experts.count * n * unit.expert_step() / 3  # forward alone
    if "mkdt" in methods:
        steps = distill.inner_steps * min(distill.batch, m)  # images in an unroll
        search = 0 if distill.rate else _SEARCHED_RATES * steps * unit.expert_step()
        iterations = distill.iterations * distill.experts_per_step
        found["distill"] = seeds * (iterations * steps * unit.matching_step() + search)
    if compare.tasks:
        small = sum(method in ("random", "high-loss", "mkdt") for method in methods)
        images = recipe.pretrain.epochs * m * small
        images += compare.full_epochs * n * ("full" in methods)
        found["pre-training"] = seeds * images * unit.pretrain_step()
        found["probes"] = seeds * len(methods) * sum(unit.probe(t) for t in sizes.tasks if t)
    return found


class _Units:
    """Seconds an image, of each kind of work, measured when first asked for."""

    def __init__(self, recipe: Recipe, sizes: Sizes, device: torch.device) -> None:
        self.recipe, self.sizes, self.device = recipe, sizes, device
        self._known: dict[str, float] = {}

    def expert_step(self) -> float:
        config = self.recipe.experts
        return self._once("expert", lambda: self._training_step(config.network, config.batch))

    def pretrain_step(self) -> float:
        config, batch = self.recipe.pretrain, self.recipe.distill.batch
        return self._once("pretrain", lambda: self._training_step(config.network, batch))

    def matching_step(self) -> float:
        """An image in one step of the inner loop, forward and back."""

        def measure() -> float:
            network = student(self.recipe, self.sizes.dimensions).to(self.device)
            start = parameters_to_vector(network.parameters()).detach()
            x, y = self._batch(self.recipe.distill.batch)
            batches = [torch.arange(len(x), device=self.device)] * 2
            rate, loss = torch.tensor(0.1, device=self.device), distillation_loss(network)
            seconds = self._seconds(
                lambda: matching_gradient(
                    loss, start=start, goal=start + 0.01, images=x, targets=y, lr=rate,
                    batches=batches,
                )
            )  # fmt: skip
            return seconds / (2 * len(x))

        return self._once("matching", measure)

    def ssl_step(self) -> float:
        config = self.recipe.teacher.ssl
        batch = self._small(config.batch, at_most=16)
        images = _noise(self.recipe, batch)
        one = replace(config, epochs=1, batch=batch)
        return self._once(
            "ssl",
            lambda: self._seconds(
                lambda: train_teacher(images=images, config=one, device=self.device)
            )
            / batch,
        )

    def represent_by_teacher(self) -> float:
        def measure() -> float:
            teacher, images = _teacher(self.recipe), _noise(self.recipe, 32)
            return self._seconds(lambda: teacher.embed(images, device=self.device)) / 32

        return self._once("teacher", measure)

    def probe(self, task: TaskSize) -> float:
        """All of an encoder's probes on one task: features, and fits that grow with the labels."""
        config = self.recipe.probe
        labelled = [fraction * task.train for fraction in config.fractions]
        labelled += [count * task.classes for count in config.per_class]
        features = self.pretrain_step() / 3 * (task.train + task.test)
        return features + config.draws * sum(labelled) * self._fit(task.classes)

    def _fit(self, classes: int) -> float:
        def measure() -> float:
            features = _network(self.recipe.pretrain.network, self.recipe, 1).feature_count
            labels = torch.arange(2 * classes) % classes
            draws = seeding.generator(0, "estimate", "features")
            x = torch.randn(len(labels), features, generator=draws)
            start = time.monotonic()
            probe_accuracy(
                x, labels, x, labels, classes=classes, protocol=self.recipe.probe.protocol
            )
            return (time.monotonic() - start) / len(labels)

        return self._once(f"fit {classes}", measure)

    def _training_step(self, network: NetworkConfig, batch: int) -> float:
        model = _network(network, self.recipe, self.sizes.dimensions).to(self.device)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        x, y = self._batch(batch)

        def step() -> None:
            optimiser.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimiser.step()

        return self._seconds(step) / len(x)

    def _batch(self, batch: int) -> tuple[Tensor, Tensor]:
        count = self._small(batch, at_most=64)
        images = _noise(self.recipe, count).to(self.device).normalised()
        return images, torch.zeros(count, self.sizes.dimensions, device=self.device)

    def _small(self, batch: int, *, at_most: int) -> int:
        """A CPU's time is in proportion to the batch; a GPU's is not, so it gets all of it."""
        return min(batch, at_most) if self.device.type == "cpu" else batch

    def _once(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self._known:
            with seeding.seeded(0, "estimate", name):
                self._known[name] = measure()
        return self._known[name]

    def _seconds(self, action: Callable[[], Any], *, at_least: float = 0.3) -> float:
        """The mean of a few calls, after one to warm up."""
        action()
        self._wait()
        start, count = time.monotonic(), 0
        while time.monotonic() - start < at_least:
            action()
            self._wait()
            count += 1
        return (time.monotonic() - start) / count

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _is_remote(source: str) -> bool:
    return source.startswith(("torchvision:", "hf:"))


def _known(source: str) -> TaskSize | None:
    plain = source.lower().replace("-", "").replace("_", "")
    found = next((sizes for name, sizes in _KNOWN.items() if name in plain), None)
    return None if found is None else TaskSize(*found)


def _network(config: NetworkConfig, recipe: Recipe, outputs: int) -> Network:
    images = recipe.images
    with seeding.seeded(0, "estimate", "network"):
        return create_network(config, channels=images.channels, size=images.size, outputs=outputs)


def _dimensions(recipe: Recipe) -> int:
    """D of the targets."""
    if recipe.targets.components:
        return recipe.targets.components
    if recipe.targets.source:
        return read_representations(Path(recipe.source(recipe.targets.source))).shape[1]
    return _teacher(recipe).network.feature_count


def _teacher(recipe: Recipe) -> Encoder:
    """The teacher, or a network of its architecture where it is yet to be trained or fetched."""
    config, size, images = recipe.teacher, recipe.images.size, _noise(recipe, 2)
    if not config.train and not config.source.startswith("timm:"):
        source = recipe.source(config.source)
        return load_teacher(
            source, images=images, network=config.ssl.network, size=config.size or None
        )
    network = config.ssl.network
    if config.train:
        model = _network(network, recipe, 1)
    else:
        network = NetworkConfig(name=config.source)
        model = timm_network(network.name.partition(":")[2], channels=3, outputs=1)
        timm_data: Any = import_extra("timm.data", extra="timm", package="timm")
        size = timm_data.resolve_model_data_config(model.body)["input_size"][-1]
    model.remove_head()
    return Encoder(
        network=model, config=network, size=size, mean=images.mean, std=images.std
    )  # fmt: skip


def _noise(recipe: Recipe, count: int) -> Images:
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
        network.eval()(_noise(recipe, 2).normalised())
    for hook in hooks:
        hook.remove()
    return sum(counts) // 2
