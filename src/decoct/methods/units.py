"""`Unit`: a kind of work whose time is measured here, to estimate how long a recipe would take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.core import seeding
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.methods.sizes import Sizes
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.teacher import SSLConfig, train_teacher

Action = Callable[[], object]


@dataclass(frozen=True)
class Bench:
    """Where units are measured: a device, and random pictures of the recipe's shape."""

    sizes: Sizes
    device: torch.device

    def images(self, count: int) -> Images:
        """Random pictures."""
        shape = (count, self.sizes.channels, self.sizes.size, self.sizes.size)
        draws = seeding.generator(0, "estimate", "images")
        return Images.from_array(torch.randint(256, shape, generator=draws, dtype=torch.uint8))

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Normalised pictures and zero targets; on a CPU no more than the timing needs."""
        count = self.sample(count, at_most=64)
        targets = torch.zeros(count, self.sizes.dimensions, device=self.device)
        return self.images(count).to(self.device).normalised(), targets

    def sample(self, batch: int, *, at_most: int) -> int:
        """On a CPU time is proportional to the batch, so a part is enough; a GPU gets all of it."""
        return min(batch, at_most) if self.device.type == "cpu" else batch

    def network(self, config: NetworkConfig, outputs: int) -> Network:
        """A freshly initialised network."""
        with seeding.seeded(0, "estimate", "network"):
            return create_network(
                config, channels=self.sizes.channels, size=self.sizes.size, outputs=outputs
            ).to(self.device)

    def seconds(self, action: Action) -> float:
        """The fastest of a few calls after a warm-up: others may be using this machine."""
        action()
        self._wait()
        times: list[float] = []
        while sum(times) < 2 and (len(times) < 4 or sum(times) < 0.2):
            start = time.monotonic()
            action()
            self._wait()
            times.append(time.monotonic() - start)
        return min(times)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Unit:
    """A kind of work: two units with the same name and settings take the same time.

    `prepare` returns a call to time, and how many units that call performs.
    """

    name: str
    settings: object
    prepare: Callable[[Bench], tuple[Action, float]] = field(compare=False)

    def seconds(self, bench: Bench) -> float:
        """The time of one unit in seconds, measured now."""
        with seeding.seeded(0, "estimate", self.name):
            action, count = self.prepare(bench)
            return bench.seconds(action) / count


def training_step(network: NetworkConfig, batch: int) -> Unit:
    """An image in a training step with mean squared error."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        model = bench.network(network, bench.sizes.dimensions)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        x, y = bench.batch(batch)

        def step() -> None:
            optimiser.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimiser.step()

        return step, len(x)

    return Unit("training step", (network, batch), prepare)


def ssl_step(config: SSLConfig) -> Unit:
    """An image in a step of self-supervised training."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        batch = bench.sample(config.batch, at_most=16)
        one = replace(config, epochs=1, steps=0, batch=batch)
        images = bench.images(batch)
        return partial(train_teacher, images=images, config=one, device=bench.device), batch

    return Unit("self-supervised step", config, prepare)


def gradient_step(network: NetworkConfig, batch: int) -> Unit:
    """An image in a hand-written gradient of the ConvNet: an expert's step."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        model = bench.network(network, bench.sizes.dimensions)
        theta = parameters_to_vector(model.parameters()).detach()
        x, y = bench.batch(batch)
        return partial(ConvNetGradient(model).gradient, theta, x, y), len(x)

    return Unit("gradient step", (network, batch), prepare)
