"""Random images with their labeller: what the choice of images is worth once views are labelled."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.methods.carried import Carrying
from decoct.methods.random import Random


@dataclass(frozen=True)
class CarriedRandom(Carrying):
    """A control for `carried`."""

    name: ClassVar[str] = "carried-random"
    summary: ClassVar[str] = "random real images with the network that labels fresh views of them"

    def chooser(self) -> str:
        """Chance."""
        return Random.name
