"""What the methods that learn a set by kernel ridge regression have in common: their settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from decoct.artefacts.rule import TrainingRule
from decoct.core.settings import MOST, Bounds, Count, Few, Momentum, NonNegative, Positive
from decoct.methods.method import FLOAT, Method, Shared, shared
from decoct.methods.sizes import Sizes
from decoct.models.registry import NetworkConfig


@dataclass(frozen=True)
class Regressed(Method):
    """A set from which the features of a population of networks predict real images' targets."""

    synthetic = True

    iterations: Count = 160_000  # steps on the images and targets
    batch: Count = 1024  # real images per iteration
    lr: Positive = 1e-4  # of AdamW, for what is learnt, decaying linearly to 0
    weight_decay: NonNegative = 0.0  # of AdamW
    ridge: Annotated[float, Bounds(at_least=1e-12)] = 1e-6  # lambda / trace of the kernel
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="convnet-bn"))
    population: Few = 10  # number of networks
    # steps before a re-initialisation
    lifetime: Annotated[int, Bounds(at_least=2, at_most=MOST)] = 1000
    network_lr: Positive = 0.1  # of SGD
    network_momentum: Momentum = 0.9  # of SGD
    network_weight_decay: NonNegative = 1e-3  # of SGD
    reset_counter: bool = True  # False: as released, re-initialised networks never train again
    precision: Literal["float32", "tf32"] = "float32"  # of convolutions; tf32 is for CUDA
    checkpoint_every: Count = 200  # iterations
    rule: Shared[TrainingRule] = shared(TrainingRule)

    def work_on(self, sizes: Sizes, *, regressed: int, trained: int) -> float:
        """Images that networks process, forward and backward; real ones forward only.

        The set has `regressed` images in a regression, and `trained` in a step of a network.
        """
        an_iteration = regressed + trained + min(self.batch, sizes.images) / 3
        return self.iterations * an_iteration + self.population * self.lifetime / 2 * trained

    def memory_on(self, sizes: Sizes, *, images: int) -> Mapping[str, int]:
        """The networks with their momentum, and the activations of a step on `images` images."""
        parameters = sizes.parameters(self.network, sizes.dimensions)
        activations = sizes.activations(self.network, sizes.dimensions)
        numbers = 2 * self.population * parameters + 2 * images * activations
        return {f"networks and step of {self.name}": numbers * FLOAT}

    def networks(self, dimensions: int) -> tuple[tuple[NetworkConfig, int], ...]:
        """The population's network."""
        return ((self.network, dimensions),)
