"""What a run at the scale of ImageNet takes: hours, disk, memory and bytes between machines.

    python benchmarks/scaling_arithmetic.py
    python benchmarks/scaling_arithmetic.py --device cuda   # where there is one: no assumption

Counts come from the recipe's stage table. A unit of each kind of work is timed here, on a few
images of full size, and its multiplications and additions are counted. Hours on an H100 assume
that it carries out as many of them in a second as it did in `benchmarks/gpu/h100.md`, at 32 px.
"""

from collections.abc import Iterable
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


def of_each_stage(recipe: Recipe, sizes: Sizes, costs: Costs, processes: Iterable[int]) -> str:
    """Work and hours, here and on H100s."""
    header = ["stage", "unit", "units", "GFLOP each", "s each, here", "hours here"]
    rows, total = [], dict.fromkeys(("here", *processes), 0.0)
    for stage in Graph(recipe).of_a_run():
        for unit, count in stage.work(sizes).items():
            cost = costs.of(unit)
            here, there = count * cost.seconds / 3600, count * cost.on_h100 / 3600
            by_number = {n: there / min(n, stage.parts) for n in processes}
            for name, hours in {"here": here, **by_number}.items():
                total[name] += hours
            row = [stage.name, unit.name, f"{count:,.0f}", f"{cost.operations / 1e9:.2f}"]
            row += [f"{cost.seconds:.3g}", *map(_hours, (here, *by_number.values()))]
            rows.append(row)
    rows.append(["together", "", "", "", "", *map(_hours, total.values())])
    return table([*header, *(f"hours, {n} H100" for n in processes)], rows)


def moved(recipe: Recipe, sizes: Sizes, processes: int) -> str:
    """Bytes on disk, read from the run's folder, and received from other processes."""
    rows = []
    for stage in Graph(recipe).of_a_run():
        parts, disk = min(processes, stage.parts), stage.disk(sizes)
        read, received = _read(stage, recipe, sizes), _received(stage, recipe, sizes, parts)
        if stage.work(sizes) or disk:
            many = "any number" if stage.parts > 10**6 else f"{stage.parts:,}"
            named = [size_text(round(n)) if n else "0" for n in (disk, read / parts, received)]
            rows.append([stage.name, many, *named])
    header = ["stage", "divided among at most", "disk", f"read by each of {processes}"]
    return table([*header, f"received by each of {processes}"], rows)


def _read(stage: Stage[Any], recipe: Recipe, sizes: Sizes) -> float:
    """Bytes of the pool that all processes read together; sets are held in memory."""
    passes = {
        "targets": 1,
        "difficulty": recipe.experts.count,
        "experts": recipe.experts.count * recipe.experts.epochs,
    }
    return passes.get(stage.name, 0) * sizes.pool * sizes.pixels


def _received(stage: Stage[Any], recipe: Recipe, sizes: Sizes, parts: int) -> float:
    """Bytes that a process receives: every gradient is averaged once over all of them."""
    if parts == 1 or stage.name == "experts":  # whose files are all that they share
        return 0
    if stage.name == "targets":  # of which each process gets all, before they are projected
        unit = next(iter(stage.work(sizes)))
        features: Any = unit.prepare(Few(sizes, torch.device("cpu")))[0]()
        return sizes.pool * features.shape[1] * _FLOAT
    if stage.name == "difficulty":
        return sizes.images * _FLOAT
    if stage.name.startswith("mkdt"):
        learnt = sizes.count * (sizes.pixels + sizes.dimensions) * _FLOAT
        return (
            2 * learnt * recipe.matching.iterations * ceil(recipe.matching.experts_per_step / parts)
        )
    (network, outputs), *_ = stage.networks(sizes.dimensions)
    steps = sum(stage.work(sizes).values()) / stage.parts
    return 2 * sizes.parameters(network, outputs) * _FLOAT * steps


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


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
    print(of_each_stage(recipe, sizes, costs, options.processes), end="\n\n")
    print(moved(recipe, sizes, max(options.processes)), end="\n\n")
    held = memory(Graph(recipe).of_a_run(), sizes)
    print(table(["in memory", "of each process"], [(n, size_text(b)) for n, b in held.items()]))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
