"""Choosing subsets of Fashion-MNIST's 60,000 images: time and memory, compared with libraries.

    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb FOLDER
    OMP_NUM_THREADS=2 python benchmarks/subsets.py --idx FOLDER/usr/share/datasets/fashion-mnist

The targets are the first 64 principal components of the pixels, so that no teacher is needed;
`--targets` reads others from a file. The plain SAS and apricot's (pip install apricot-select;
skipped if it is not installed) hold an n x n matrix, so they are compared on fewer images of one
class.
"""

import ctypes
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from common import machine, peak_resident_bytes, resident_bytes, table
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets, read_representations
from decoct.core import seeding
from decoct.core.device import resolve_device
from decoct.core.seeding import random_subset
from decoct.data.sources import load_images
from decoct.methods.high_loss import high_loss_subset
from decoct.methods.k_center import k_center_subset
from decoct.methods.k_means import kmeans_subset
from decoct.methods.sas import sas_subset

Floats = NDArray[np.float32]
Calls = Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    idx: Path = Path("/usr/share/datasets/fashion-mnist")  # the folder of IDX files
    targets: str = "pixels"  # or a .npy, .npz or .safetensors file with one row per image
    components: int = 64
    share: float = 0.02  # of the images to choose
    reduced: int = 6000  # number of images when SAS is compared with methods that hold n x n
    repeats: int = 3


def main(options: Options) -> None:
    """Measure each group, and print a table."""
    device = resolve_device("cpu")
    targets = read_targets(options)
    few = reduced(targets, options.reduced)
    count, count_few = (round(options.share * len(t)) for t in (targets, few))
    groups = {
        "random": lambda: random(len(targets), count),
        "high-loss": lambda: high_loss(len(targets), count),
        "k-center": lambda: k_center(targets, count),
        "k-means": lambda: k_means(targets, count),
        "SAS": lambda: sas(targets, count),
        f"SAS, {len(few)}, one class": lambda: sas_plain(few, count_few, penalty=True),
        f"no penalty, {len(few)}, one class": lambda: sas_plain(few, count_few, penalty=False),
    }
    print(f"{machine(device)}; {count} of {len(targets)} x {targets.dimensions}; {options}\n")
    rows: list[list[str]] = []
    for group, calls in groups.items():
        rows += measured(group, calls(), targets, repeats=options.repeats)
    header = ["method", "by", "seconds", "CPU seconds", "ratio", "MB", "same images", "distance"]
    print(table(header, rows))


def read_targets(options: Options) -> Targets:
    """Principal components of the pixels, or of the rows of a file."""
    if options.targets == "pixels":
        images = load_images(options.idx, size=28, channels=1)
        found = images.pixels[:].flatten(1).float()
    else:
        found = read_representations(Path(options.targets))
    return fit_targets(found, TargetsConfig(components=options.components))


def reduced(targets: Targets, count: int) -> Targets:
    """A random subset."""
    draws = seeding.generator(0, "benchmark", "subsets")
    return targets.part(torch.randperm(len(targets), generator=draws)[:count])


def measured(group: str, calls: Calls, targets: Targets, *, repeats: int) -> list[list[str]]:
    """Medians of contenders that alternate; their choices are compared with the first one's."""
    walls: dict[str, list[float]] = {name: [] for name in calls}
    cpus: dict[str, list[float]] = {name: [] for name in calls}
    peaks, chosen = {}, {}
    for _ in range(repeats):
        for name, call in calls.items():
            before = forget_peak()
            cpu, wall = time.process_time(), time.perf_counter()
            chosen[name] = call()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
            peaks[name] = peak_resident_bytes() - before
    first, rows = next(iter(calls)), []
    base = statistics.median(cpus[first])
    for name in calls:
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        shared = np.intersect1d(chosen[first], chosen[name]).size / len(chosen[first])
        whole = int(chosen[name].max()) < len(targets) and "one class" not in group
        spread = f"{mean_distance(targets.values, chosen[name]):.2f}" if whole else ""
        rows.append(
            [
                group,
                name,
                f"{wall:.3f}",
                f"{cpu:.3f}",
                f"{cpu / base:.2f}",
                f"{peaks[name] / 1e6:.0f}",
                f"{shared:.0%}",
                spread,
            ]
        )
    return rows


def forget_peak() -> int:
    """Reset the kernel's high-water mark, after returning freed memory (Linux, glibc)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes()


def mean_distance(values: Tensor, chosen: Tensor) -> float:
    """Squared distance from an image to the nearest chosen one, mean over every tenth image."""
    return float(torch.cdist(values[::10], values[chosen]).min(1).values.square().mean())


def random(total: int, count: int) -> Calls:
    """A permutation, and numpy's draw without replacement."""
    draws = np.random.default_rng(0)
    return {
        "decoct": lambda: random_subset(total=total, count=count, seed=0),
        "numpy": lambda: torch.from_numpy(np.sort(draws.choice(total, count, replace=False))),
    }


def high_loss(total: int, count: int) -> Calls:
    """Given difficulties: torch's largest, and numpy's."""
    difficulty = torch.rand(total, generator=seeding.generator(0, "benchmark", "difficulty"))
    plain = difficulty.numpy()
    return {
        "decoct": lambda: high_loss_subset(difficulty=difficulty, count=count),
        "numpy": lambda: torch.from_numpy(np.sort(np.argpartition(-plain, count)[:count])),
    }


def k_center(targets: Targets, count: int) -> Calls:
    """Greedy with few distances, and plainly with all of them, from the same first image."""
    values = targets.values.numpy()
    first = int(k_center_subset(targets=targets, count=1, seed=0))

    def plain() -> Tensor:
        chosen, nearest = [first], np.full(len(values), np.inf, np.float32)
        while len(chosen) < count:
            differences = values - values[chosen[-1]]
            nearest = np.minimum(nearest, np.einsum("nd,nd->n", differences, differences))
            chosen.append(int(nearest.argmax()))
        return torch.tensor(sorted(chosen))

    return {
        "decoct": lambda: k_center_subset(targets=targets, count=count, seed=0),
        "numpy": plain,
        "its products alone": lambda: products(targets.values, count),
    }


def products(values: Tensor, count: int) -> Tensor:
    """A lower bound for farthest-first by products: one product with each chosen image."""
    for image in values[:count]:
        values @ image
    return torch.arange(count)


def k_means(targets: Targets, count: int) -> Calls:
    """Started from a sample, and scikit-learn's two methods with their defaults."""
    values = targets.values.numpy()

    def nearest(model: KMeans | MiniBatchKMeans) -> Tensor:
        centres = torch.from_numpy(model.fit(values).cluster_centers_)
        return torch.cdist(centres, targets.values).argmin(1).unique()

    return {
        "decoct": lambda: kmeans_subset(targets=targets, count=count, seed=0),
        "scikit-learn KMeans": lambda: nearest(KMeans(count, n_init=1, random_state=0)),
        "scikit-learn MiniBatchKMeans": lambda: nearest(
            MiniBatchKMeans(count, n_init=1, random_state=0)
        ),
    }


def sas(targets: Targets, count: int) -> Calls:
    """With and without the penalty, in ten latent classes."""
    choose = partial(sas_subset, targets=targets, count=count, seed=0)
    return {"decoct": choose, "decoct, no penalty": partial(choose, penalty=False)}


def sas_plain(targets: Targets, count: int, *, penalty: bool) -> Calls:
    """One class: without the matrix of similarities, and with it."""

    def similarities() -> Floats:
        values = targets.values.numpy()
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        return np.maximum(unit @ unit.T, 0)

    def plain() -> Tensor:
        matrix = similarities()
        score, chosen = matrix.sum(1), []
        if not penalty:
            return torch.from_numpy(np.sort(np.argpartition(-score, count)[:count]))
        while len(chosen) < count:
            chosen.append(int(score.argmax()))
            score -= 2 * matrix[chosen[-1]]
            score[chosen[-1]] = -np.inf
        return torch.tensor(sorted(chosen))

    def graph_cut() -> Tensor:
        from apricot import GraphCutSelection  # counts a chosen pair twice, as SAS does

        model = GraphCutSelection(count, metric="precomputed", optimizer="lazy")
        return torch.from_numpy(np.sort(model.fit(similarities()).ranking))

    calls: dict[str, Callable[[], Tensor]] = {
        "decoct": lambda: sas_subset(
            targets=targets, count=count, seed=0, classes=1, penalty=penalty
        ),
        "numpy": plain,
    }
    if penalty and importlib.util.find_spec("apricot"):
        calls["apricot GraphCut"] = graph_cut
    return calls


if __name__ == "__main__":
    main(tyro.cli(Options))
