"""What a run at the scale of ImageNet takes: hours, disk, memory and bytes between machines.

    python benchmarks/scaling_arithmetic.py
    python benchmarks/scaling_arithmetic.py --device cuda   # where there is one: no assumption

Counts come from the recipe's stage table. A unit of each kind of work is timed here, on a few
images of full size, and its multiplications and additions are counted. Hours on an H100 assume
that it carries out as many of them in a second as it did in `benchmarks/gpu/h100.md`, at 32 px.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
import tyro
from common import machine, table
from rich.filesize import decimal as size_text
from torch.utils.flop_counter import FlopCounterMode

from decoct.core.device import resolve_device
from decoct.matching.loop import MatchingConfig
from decoct.methods.mkdt import matching_step
from decoct.methods.sizes import Sizes
from decoct.methods.units import Bench, Unit, gradient_step, ssl_step
from decoct.models.registry import NetworkConfig
from decoct.run.doctor import duration_text
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe, load_recipe
from decoct.run.sizes import memory
from decoct.run.stage import Stage
from decoct.training.teacher import SSLConfig

_RECIPE = Path(__file__).parent / "scaling" / "imagenet.yaml"
_FLOAT = 4  # bytes
_STUDENT = NetworkConfig(name="convnet", width=128, depth=3)
# Images a second on an H100, by the unit: an epoch of an expert, compiled, in TF32; iterations of
# 40 steps of 256 images in 0.18 s; a teacher's 20 epochs of 18,880 images in 55 s.
_MEASURED = {
    "experts": (gradient_step(_STUDENT, 256), 93_095.0),
    "matching": (matching_step(_STUDENT, MatchingConfig()), 40 * 256 / 0.18),
    "teacher": (
        ssl_step(SSLConfig(network=NetworkConfig(name="resnet18"), epochs=20)),
        20 * 18_880 / 55,
    ),
}
# At which of these rates a unit is assumed to run.
_RATES = {
    "gradient step": "experts",
    "training step": "experts",
    "matching step": "matching",
    "embedding": "teacher",
    "self-supervised step": "teacher",
}


@dataclass(frozen=True)
class Options:
    """What to count."""

    recipe: Path = _RECIPE
    images: int = 1_281_167
    processes: tuple[int, ...] = (1, 8, 64)
    at_once: int = 2  # images that a unit is timed on; a GPU gets the recipe's batch
    network: float = 50.0  # GB/s that a process receives: what 400 Gbit/s are at best
    device: str = "cpu"


class Few(Bench):
    """Units are timed on few images, for these are large."""

    at_once = 2

    def sample(self, batch: int, *, at_most: int) -> int:
        """How many images of a batch."""
        return min(batch, self.at_once) if self.device.type == "cpu" else batch


@dataclass(frozen=True)
class Cost:
    """One unit of work: seconds here, operations (2 for a product and a sum), and on an H100."""

    seconds: float
    operations: float
    on_h100: float


class Costs:
    """Units, each measured once."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.bench = Few(sizes, device)
        self.known: dict[Unit, Cost] = {}
        small = Sizes(pool=1000, images=1000, count=1000, channels=3, size=32, dimensions=512)
        bench = Few(small, torch.device("cpu"))
        self.rates = {
            name: images * _operations(unit, bench) for name, (unit, images) in _MEASURED.items()
        }

    def of(self, unit: Unit) -> Cost:
        """What a unit costs."""
        if unit not in self.known:
            operations = _operations(unit, self.bench)
            on_h100 = operations / self.rates[_RATES[unit.name]]
            self.known[unit] = Cost(unit.seconds(self.bench), operations, on_h100)
        return self.known[unit]


def _operations(unit: Unit, bench: Bench) -> float:
    action, count = unit.prepare(bench)
    with FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops() / count


def work(recipe: Recipe, sizes: Sizes, costs: Costs, processes: Sequence[int]) -> str:
    """The work of each stage, and its hours here and on H100s, if nobody waits for anybody."""
    rows, total = [], dict.fromkeys(("here", *processes), 0.0)
    for stage in Graph(recipe).of_a_run():
        for unit, count in stage.work(sizes).items():
            if count:
                cost = costs.of(unit)
                taken = {"here": count * cost.seconds}
                taken |= {n: count * cost.on_h100 * _share(stage, n) for n in processes}
                total = {name: total[name] + taken[name] for name in total}
                row = [stage.name, unit.name, f"{count:,.0f}", f"{cost.operations / 1e9:.2f}"]
                rows.append([*row, f"{cost.seconds:.2f}", *map(duration_text, taken.values())])
    rows.append(["together", "", "", "", "", *map(duration_text, total.values())])
    header = ["stage", "unit", "units", "GFLOP each", "s each, here", "here"]
    return table([*header, *(f"{n} H100" for n in processes)], rows)


def _share(stage: Stage[Any], processes: int) -> float:
    """What the busiest process does of a stage."""
    return ceil(stage.parts / processes) / stage.parts


def traffic(recipe: Recipe, sizes: Sizes, costs: Costs, processes: int, network: float) -> str:
    """Bytes that a process reads and receives, and what that takes beside its computing."""
    rows = []
    for stage in Graph(recipe).of_a_run():
        units = stage.work(sizes).items()
        share = _share(stage, processes)
        seconds = sum(count * costs.of(unit).on_h100 for unit, count in units) * share
        read = _read(stage, recipe, sizes) * share
        received = _received(stage, recipe, sizes, processes)
        if seconds:
            many = "any number" if stage.parts > 10**6 else f"{stage.parts:,}"
            row = [stage.name, many, *map(_size, (stage.disk(sizes), read))]
            row += [f"{read / seconds / 1e6:,.0f}", _size(received), duration_text(seconds)]
            rows.append([*row, duration_text(received / network / 1e9) if received else "0"])
    header = ["stage", "divided among at most", "disk", "reads of the pool", "MB/s of that"]
    header += ["receives of the others", "computes", f"receives, at {network:g} GB/s"]
    return table(header, rows)


def _size(count: float) -> str:
    return size_text(round(count)) if count else "0"


def _read(stage: Stage[Any], recipe: Recipe, sizes: Sizes) -> float:
    """Bytes of the pool that all processes read together; sets are held in memory."""
    passes = {
        "targets": 1,
        "difficulty": recipe.experts.count,
        "experts": recipe.experts.count * recipe.experts.epochs,
    }
    return passes.get(stage.name, 0) * sizes.pool * sizes.pixels


def _received(stage: Stage[Any], recipe: Recipe, sizes: Sizes, processes: int) -> float:
    """Bytes that one of so many processes receives from the others."""
    if min(processes, stage.parts) == 1 or stage.name == "experts":  # an expert is a file
        return 0
    if stage.name == "targets":  # each gets all representations
        unit = next(iter(stage.work(sizes)))
        features: Any = unit.prepare(Few(sizes, torch.device("cpu")))[0]()
        return sizes.pool * features.shape[1] * _FLOAT
    if stage.name == "difficulty":
        return sizes.images * _FLOAT
    if stage.name.startswith("mkdt"):  # its piece of every gradient, and the mean of all pieces
        learnt = sizes.count * (sizes.pixels + sizes.dimensions) * _FLOAT
        gradients = recipe.matching.experts_per_step / processes + 1
        return gradients * learnt * recipe.matching.iterations
    (network, outputs), *_ = stage.networks(sizes.dimensions)  # a network, trained on batches
    steps = sum(stage.work(sizes).values()) / stage.parts
    return 2 * sizes.parameters(network, outputs) * _FLOAT * steps


def main(options: Options) -> None:
    """Print the tables."""
    recipe, device = load_recipe(options.recipe), resolve_device(options.device)
    sizes = Sizes(
        pool=options.images,
        images=options.images,
        count=recipe.set_size(options.images),
        channels=3,
        size=recipe.images.size,
        dimensions=recipe.targets.components,
        student=recipe.experts.network,
        assistant=recipe.assistant.network,
    )
    Few.at_once = options.at_once
    costs = Costs(sizes, device)
    parameters = sizes.parameters(sizes.student, sizes.dimensions)
    print(f"Here: {machine(device)}\n")
    print(f"Pool: {sizes.pool:,} images, {size_text(sizes.pool * sizes.pixels)}")
    print(f"Set: {sizes.count:,} images, {size_text(sizes.count * sizes.pixels * _FLOAT)}")
    print(f"Student: {parameters:,} parameters\n")
    print("Rates of an H100, from what it was measured to do at 32 px, TFLOP/s: ", end="")
    print(", ".join(f"{name} {rate / 1e12:.1f}" for name, rate in costs.rates.items()), end="\n\n")
    print(work(recipe, sizes, costs, options.processes), end="\n\n")
    most = max(options.processes)
    print(f"Each of {most} processes:\n")
    print(traffic(recipe, sizes, costs, most, options.network), end="\n\n")
    held = memory(Graph(recipe).of_a_run(), sizes)
    print(table(["in memory", "of each process"], [(n, size_text(b)) for n, b in held.items()]))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
