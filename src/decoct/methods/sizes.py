"""`Sizes`: the counts that determine the cost of a method or a stage."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from decoct.core import seeding
from decoct.core.shapes import Pixels
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network


@dataclass(frozen=True)
class TaskSize:
    """The size of a task."""

    train: int
    test: int
    classes: int


@dataclass(frozen=True)
class Sizes:
    """What is known about a recipe's data before anything is made."""

    pool: int  # images, including those held out
    images: int  # N: images for training
    count: int  # m: images in a distilled set
    channels: int
    size: int  # pixels
    dimensions: int  # D of the targets
    student: NetworkConfig = field(default_factory=NetworkConfig)  # the experts'
    assistant: NetworkConfig = field(default_factory=NetworkConfig)
    sample: Pixels | None = field(default=None, compare=False, repr=False)  # some of the images
    tasks: tuple[TaskSize | None, ...] = ()  # None: unknown

    @property
    def pixels(self) -> int:
        """The number of values in an image."""
        return self.channels * self.size**2

    def network(self, config: NetworkConfig, outputs: int) -> Network:
        """A freshly initialised network for the images; leaves torch's generators unchanged."""
        with seeding.seeded(0, "sizes", "network"):
            return create_network(config, channels=self.channels, size=self.size, outputs=outputs)

    def parameters(self, config: NetworkConfig, outputs: int) -> int:
        """P of a network, including its head."""
        return sum(p.numel() for p in self.network(config, outputs).parameters())

    def activations(self, config: NetworkConfig, outputs: int) -> int:
        """The number of values that a network's layers output for one image."""
        counts: list[int] = []

        def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
            counts.append(output.numel())

        network = self.network(config, outputs).eval()
        for module in network.modules():
            if not list(module.children()):
                module.register_forward_hook(count)
        with torch.no_grad():
            network(torch.zeros(2, self.channels, self.size, self.size))
        return sum(counts) // 2
