"""No real image at all: procedural pictures, made from a seed, and the labeller."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decoct.artefacts.codes import procedural
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.rule import TrainingRule
from decoct.core import seeding
from decoct.core.place import Place
from decoct.core.settings import Bounds
from decoct.data.procedural import Kind
from decoct.methods.carried import LabellerConfig, labeller_bytes, with_labeller
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method, Shared, shared
from decoct.methods.sizes import Sizes


@dataclass(frozen=True)
class Noise(Method):
    """A control: how much of a set's worth lies in its labeller.

    Source: Baradad et al. 2021, "Learning to see by looking at noise".
    """

    name: ClassVar[str] = "noise"
    summary: ClassVar[str] = "pictures made from a seed, with the network that labels views of them"
    section: ClassVar[str] = "noise"

    kind: Kind = "blobs"  # how pictures are drawn
    # 0: as many as other sets have images; they take no bytes
    count: Annotated[int, Bounds(at_least=0, at_most=10**6)] = 0
    labeller: Shared[LabellerConfig] = shared(LabellerConfig)
    rule: Shared[TrainingRule] = shared(TrainingRule)

    def needs(self) -> tuple[str, ...]:
        """The labeller, and the shape of the pool's images."""
        return ("images", "assistant")

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The seed and the labeller."""
        images = inputs.images
        shape = (self.count or inputs.count, images.channels, images.size, images.size)
        return with_labeller(
            procedural(self.kind, shape=shape, seed=seeding.derive(inputs.seed, "noise")),
            images=images,
            labeller=inputs.assistant,
            config=self.labeller,
            rule=self.rule,
            method=self.name,
        )

    def seen(self, sizes: Sizes) -> int:
        """Its own number of pictures."""
        return self.count or sizes.count

    def bytes_an_image(self, sizes: Sizes) -> float:
        """None: a seed makes them."""
        return 0

    def fixed_bytes(self, sizes: Sizes) -> int:
        """The labeller's."""
        return labeller_bytes(self.labeller, sizes)
