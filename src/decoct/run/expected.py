"""What more steps and bytes gave on our proxy suite: a guide before anything is measured here."""

import math
from dataclasses import dataclass, replace

import torch

from decoct.methods.carried import Carrying
from decoct.methods.sizes import Sizes
from decoct.methods.units import Bench, Unit
from decoct.run.recipe import Recipe


@dataclass(frozen=True)
class Expected:
    """How far sets of `carried` came from random to all images, each end by its best rule."""

    network: str
    bytes: int
    steps: int
    gap: float


# The strict gaps of docs/results/frontier.md, where all images took 5,400 steps and 56 MB.
MEASURED = (
    Expected("convnet 32", 290_748, 120, 0.38),
    Expected("convnet 32", 1_184_914, 120, 0.43),
    Expected("convnet 32", 290_748, 480, 0.64),
    Expected("convnet 32", 1_184_914, 480, 0.77),
    Expected("convnet 32", 290_748, 1_920, 0.83),
    Expected("convnet 32", 1_184_914, 1_920, 0.91),
    Expected("resnet10 16", 290_748, 120, 0.75),
    Expected("resnet10 16", 1_184_914, 120, 0.79),
    Expected("resnet10 16", 290_748, 480, 0.97),
    Expected("resnet10 16", 1_184_914, 480, 1.01),
    Expected("resnet10 16", 290_748, 1_920, 1.06),
    Expected("resnet10 16", 1_184_914, 1_920, 1.06),
)


@dataclass(frozen=True)
class Outlook:
    """A number of steps: what it costs here, and what it gave on the proxy suite."""

    steps: int
    seconds: float
    lowest: float  # of the gaps, over networks and sizes of the set
    highest: float


def outlook(recipe: Recipe, sizes: Sizes, device: torch.device) -> list[Outlook]:
    """One for each measured number of steps; none for a method whose sets carry no labeller.

    Seconds come from timing a step on the device.
    """
    method = recipe.configured(recipe.method)
    if not isinstance(method, Carrying):
        return []
    bench, known = Bench(sizes, device), dict[Unit, float]()
    found = []
    for steps in sorted({each.steps for each in MEASURED}):
        pretraining = replace(recipe.pretraining(method.name), steps=steps)
        work = method.pretraining_work(sizes, pretraining)
        known |= {unit: unit.seconds(bench) for unit in work if unit not in known}
        seconds = math.fsum(count * known[unit] for unit, count in work.items())
        gaps = [each.gap for each in MEASURED if each.steps == steps]
        found.append(Outlook(steps, seconds, min(gaps), max(gaps)))
    return found
