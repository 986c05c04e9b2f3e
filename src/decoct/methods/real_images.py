"""What the methods that choose a few real images and keep their targets have in common."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.provenance import versions
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method, Shared, shared
from decoct.methods.units import Action, Bench, Unit

BLOCK = 2**24  # distances or similarities at a time, for a pool of any size: 64 MB
_SMALL_POOL = 4000  # size of the pool on which the time is measured


@dataclass(frozen=True)
class RealImages(Method):
    """Real images and their targets, with the interface of synthetic ones."""

    rule: Shared[TrainingRule] = shared(TrainingRule)

    @abstractmethod
    def choose(self, inputs: Inputs, place: Place) -> Tensor:
        """The rows of the images to keep: int64, m, increasing."""

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The chosen images, with their targets."""
        index, images = self.choose(inputs, place), inputs.images
        return DistilledSet(
            images=images.normalised(index),
            targets=inputs.targets.values[index],
            mean=images.mean,
            std=images.std,
            rule=self.rule,
            method=self.name,
            index=index,
            provenance=versions(),
        )


def candidates(targets: Targets, *, count: int, device: torch.device | str) -> Tensor:
    """The N x D targets on the device for choosing; raises `DecoctError` if there are too few."""
    if not 1 <= count <= len(targets):
        raise DecoctError(f"a subset of {count} images cannot be chosen from {len(targets)}")
    return targets.values.to(device)


def choosing(method: RealImages) -> Unit:
    """Choosing one subset by the targets; its time grows with the square of the pool's size."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        sizes = bench.sizes
        pool = min(sizes.images, _SMALL_POOL)
        draws = seeding.generator(0, "estimate", "targets")
        values = torch.randn(pool, sizes.dimensions, generator=draws)
        targets = fit_targets(values, TargetsConfig())
        count = max(1, sizes.count * pool // sizes.images)
        inputs = Inputs({"targets": lambda: targets}, count=count)
        return partial(method.choose, inputs, Place(bench.device)), pool**2

    return Unit("choosing", method, prepare)
