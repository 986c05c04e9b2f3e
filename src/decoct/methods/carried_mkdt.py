"""MKDT's images with their labeller: whether learning images pays once views are labelled."""

from dataclasses import dataclass, replace
from typing import ClassVar

from decoct.artefacts.codes import webp
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.rule import TrainingRule
from decoct.core.place import Place
from decoct.methods.carried import LabellerConfig, labeller_bytes, with_labeller
from decoct.methods.inputs import Inputs, whole_set_of
from decoct.methods.method import Method, Shared, shared
from decoct.methods.mkdt import MKDT
from decoct.methods.sizes import Sizes


@dataclass(frozen=True)
class CarriedMKDT(Method):
    """A control for `carried`: as many synthetic images, kept and labelled in the same way.

    Learnt pixels beyond black and white are clipped, as any picture's are.
    """

    name: ClassVar[str] = "carried-mkdt"
    summary: ClassVar[str] = "images learnt by mkdt, with the network that labels views of them"
    synthetic: ClassVar[bool] = True

    labeller: Shared[LabellerConfig] = shared(LabellerConfig)
    rule: Shared[TrainingRule] = shared(TrainingRule)

    def needs(self) -> tuple[str, ...]:
        """MKDT's set and the labeller."""
        return ("images", "assistant", whole_set_of(MKDT.name))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The learnt images, without their targets, and the labeller."""
        learnt = inputs.set_of(MKDT.name)
        found = with_labeller(
            webp(learnt.pixels(), quality=self.labeller.quality),
            images=inputs.images,
            labeller=inputs.assistant,
            config=self.labeller,
            rule=self.rule,
            method=self.name,
        )
        return replace(found, initial=learnt.initial)

    def bytes_an_image(self, sizes: Sizes) -> float:
        """Its pixels, before compression."""
        return sizes.pixels

    def fixed_bytes(self, sizes: Sizes) -> int:
        """The labeller's."""
        return labeller_bytes(self.labeller, sizes)
