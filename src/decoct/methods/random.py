"""Random real images: the baseline for every method."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from decoct.core.place import Place
from decoct.core.seeding import random_subset
from decoct.evaluation.scores import REFERENCE
from decoct.methods.inputs import Inputs
from decoct.methods.real_images import RealImages


@dataclass(frozen=True)
class Random(RealImages):
    """The baseline: no choice at all."""

    name: ClassVar[str] = REFERENCE
    summary: ClassVar[str] = "random real images"

    def choose(self, inputs: Inputs, place: Place) -> Tensor:
        """Choose any images."""
        return random_rows(inputs)


def random_rows(inputs: Inputs) -> Tensor:
    """The images of `Random` (int64, m, increasing), for methods that have no targets."""
    return random_subset(total=len(inputs.images), count=inputs.count, seed=inputs.seed)
