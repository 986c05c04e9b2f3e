"""No pre-training: the network as initialised."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.core.place import Place
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method
from decoct.training.pretrain import fresh_encoder


@dataclass(frozen=True)
class NoPretraining(Method):
    """A reference: the value of an encoder that has learnt nothing."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "no pre-training: the network as initialised"
    makes_set: ClassVar[bool] = False
    keeps_encoder: ClassVar[bool] = False

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """Initialise it with the seed that pre-training would use."""
        images = inputs.images
        return fresh_encoder(
            inputs.pretraining.network,
            mean=images.mean,
            std=images.std,
            size=images.size,
            outputs=inputs.targets.dimensions,
            seed=inputs.seed,
        )
