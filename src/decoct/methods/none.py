"""No pre-training: the network as it is initialised."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.core.place import Place
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method
from decoct.training.pretrain import fresh_encoder


@dataclass(frozen=True)
class NoPretraining(Method):
    """A reference: what an encoder is worth that has learnt nothing."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "no pre-training: the network as it is initialised"
    makes_set: ClassVar[bool] = False
    keeps_encoder: ClassVar[bool] = False

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """With the seed that pre-training would give it."""
        images = inputs.images
        return fresh_encoder(
            inputs.pretraining.network,
            mean=images.mean,
            std=images.std,
            size=images.size,
            outputs=inputs.targets.dimensions,
            seed=inputs.seed,
        )
