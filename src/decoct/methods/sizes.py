"""`Sizes`: the counts that the cost of a method or a stage follows from."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from decoct.core import seeding
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network


@dataclass(frozen=True)
class TaskSize:
    """How large a task is."""

    train: int
    test: int
    classes: int


@dataclass(frozen=True)
class Sizes:
    """What is known of a recipe's data before anything is made."""

    pool: int  # images, those left out among them
    images: int  # N: those that are learnt from
    count: int  # m: images in a distilled set
    channels: int
    size: int  # pixels
    dimensions: int  # D of the targets
    student: NetworkConfig = field(default_factory=NetworkConfig)  # the experts'
    tasks: tuple[TaskSize | None, ...] = ()  # None: unknown

    @property
    def pixels(self) -> int:
        """Numbers in an image."""
        return self.channels * self.size**2

    def network(self, config: NetworkConfig, outputs: int) -> Network:
        """A freshly initialised network for the images; torch's random numbers stay as they are."""
        with seeding.seeded(0, "sizes", "network"):
            return create_network(config, channels=self.channels, size=self.size, outputs=outputs)

    def parameters(self, config: NetworkConfig, outputs: int) -> int:
        """P of a network, its head included."""
        return sum(p.numel() for p in self.network(config, outputs).parameters())

    def activations(self, config: NetworkConfig, outputs: int) -> int:
        """Numbers that the layers of a network put out for one image."""
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
