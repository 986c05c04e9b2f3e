"""Training a teacher, representing images, pre-training and probes: as they are, and alternatives.

    python benchmarks/stages.py                      # about 2 minutes on 2 cores
    python benchmarks/stages.py --images 8000 --labelled 2000 --features 512 2048
    python benchmarks/stages.py --device cuda --networks convnet resnet10 resnet18

Contenders alternate in one process; the numbers are medians, and ratios to the first of a group.
"""

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sklearn.linear_model
import torch
import torch.nn.functional as F
import tyro
from common import in_turn, machine, table
from kornia.augmentation import (
    ColorJiggle,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from threadpoolctl import threadpool_limits
from torch import Tensor

from decoct.core import seeding
from decoct.core.device import resolve_device
from decoct.data.augment import AugmentConfig, augmenter
from decoct.data.images import Images
from decoct.evaluation.probe import probe_accuracies
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.losses.barlow_twins import barlow_twins_loss

Calls = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    images: int = 378  # in a pre-training epoch, and so the largest possible batch
    batch: int = 256
    size: int = 32
    networks: tuple[str, ...] = ("convnet", "resnet10-small")
    width: int = 32
    labelled: int = 400  # number of labelled examples for a probe
    tested: int = 2000
    features: tuple[int, ...] = (512, 2048)
    classes: tuple[int, ...] = (10, 100)
    draws: int = 3
    repeats: int = 3
    device: str = "cpu"


def main(options: Options) -> None:
    """Measure, and print a table for all stages."""
    device = resolve_device(options.device)
    rows: list[list[str]] = []

    def measure(stage: str, calls: Calls, *, repeats: int = options.repeats) -> None:
        times = in_turn(calls, repeats=repeats, device=device)
        first = next(iter(times.values()))
        for name, seconds in times.items():
            rows.append([stage, name, f"{1000 * seconds:.1f}", f"{seconds / first:.2f}"])

    measure("two views of a batch", views(options, device))
    for name in options.networks:
        measure(f"teacher's step, {name}", training(options, name, device, teacher=True))
        measure(f"pre-training epoch, {name}", training(options, name, device, teacher=False))
        measure(f"representing, {name}", representing(options, name, device))
    for count in options.features:
        for classes in options.classes:
            calls = probes(options, count, classes, device)
            measure(
                f"{options.draws} probes, {count} features, {classes} classes", calls, repeats=1
            )
    print(f"{machine(device)}; {options}\n")
    print(table(["stage", "contender", "ms", "ratio"], rows))


def pictures(options: Options) -> Images:
    """Random pictures."""
    shape = (options.images, 3, options.size, options.size)
    draws = seeding.generator(0, "benchmark")
    return Images.from_array(torch.randint(256, shape, dtype=torch.uint8, generator=draws))


def views(options: Options, device: torch.device) -> Calls:
    """Our implementation and kornia's own."""
    images = pictures(options).to(device)
    pixels, size = images.pixels[: options.batch], (options.size, options.size)
    ours = augmenter(AugmentConfig(), images)
    kornias = torch.nn.Sequential(
        RandomResizedCrop(size, scale=(0.25, 1.0)),
        RandomHorizontalFlip(),
        ColorJiggle(0.4, 0.4, 0.4, 0.1, p=0.8),
        RandomGrayscale(p=0.2),
    )
    return {
        "as it is": lambda: (ours(pixels), ours(pixels)),
        "kornia's": lambda: (kornias(pixels / 255), kornias(pixels / 255)),
    }


def networks(options: Options, name: str, device: torch.device) -> dict[str, Network]:
    """The network as it is, and with the other memory format for its images."""
    with seeding.seeded(0, "benchmark"):
        plain = create_network(
            NetworkConfig(name=name, width=options.width),
            channels=3,
            size=options.size,
            outputs=64,
        ).to(device)
    other = copy.deepcopy(plain)
    other.channels_last = not plain.channels_last
    name = "channels outermost" if plain.channels_last else "channels innermost"
    return {"as it is": plain, name: other}


def training(options: Options, name: str, device: torch.device, *, teacher: bool) -> Calls:
    """A step on two views of a batch, or an epoch of distillation."""
    images = pictures(options).to(device).normalised()
    targets = torch.randn(len(images), 64, device=device)

    def loop(network: Network, *, fused: bool = False) -> Callable[[], None]:
        kind = torch.optim.Adam if teacher else torch.optim.SGD
        optimiser = kind(network.parameters(), lr=1e-4, fused=fused)

        def run() -> None:
            for index in torch.arange(len(images), device=device).split(options.batch)[:most]:
                if teacher:
                    loss = barlow_twins_loss(*network(images[index].repeat(2, 1, 1, 1)).chunk(2))
                else:
                    loss = F.mse_loss(network(images[index]), targets[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

        return run

    most = 1 if teacher else None
    found = networks(options, name, device)
    calls = {label: loop(network) for label, network in found.items()}
    return calls | {"fused optimiser": loop(copy.deepcopy(found["as it is"]), fused=True)}


def representing(options: Options, name: str, device: torch.device) -> Calls:
    """Features of all images, in eval mode."""
    images = pictures(options).to(device).normalised()

    def run(network: Network, batch: int) -> None:
        with torch.no_grad():
            for chunk in images.split(batch):
                network.eval().features(chunk)

    found = networks(options, name, device)
    calls = {label: lambda n=network: run(n, 512) for label, network in found.items()}
    return calls | {"batches of 64": lambda: run(found["as it is"], 64)}


def probes(options: Options, count: int, classes: int, device: torch.device) -> Calls:
    """All draws in one batch, one by one, and by scikit-learn (one penalty, a thread for each)."""
    total, draws = options.labelled + options.tested, seeding.generator(0, "benchmark", "probes")
    labels = torch.arange(total) % classes
    centres = torch.randn(classes, count, generator=draws)
    x = (centres[labels] / 4 + torch.randn(total, count, generator=draws)).to(device)
    n = options.labelled // classes * classes
    index = torch.arange(n).expand(options.draws, n)
    test, test_labels = x[-options.tested :], labels[-options.tested :]

    def fit(rows: Tensor, protocol: str) -> None:
        probe_accuracies(x, labels, rows, test, test_labels, classes=classes, protocol=protocol)

    def alone() -> None:
        for row in index:
            fit(row[None], "standard")

    def scikit_learn() -> None:
        def one(row: Tensor) -> None:
            model = sklearn.linear_model.LogisticRegression(
                C=1 / (2 * n * 1e-3), max_iter=5000, tol=1e-6
            )
            model.fit(x[row.to(device)].cpu().double().numpy(), labels[row].numpy())

        with threadpool_limits(1), ThreadPoolExecutor(torch.get_num_threads()) as workers:
            list(workers.map(one, index))

    return {
        "as it is": lambda: fit(index, "standard"),
        "one by one": alone,
        "paper's protocol (no cross-validation)": lambda: fit(index, "paper"),
        "scikit-learn (no cross-validation)": scikit_learn,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
