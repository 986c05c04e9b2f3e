"""The assistant itself as an encoder: what training on the set that it labels must be worth."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.core.place import Place
from decoct.methods.carried import LabellerConfig, labeller_bytes
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method, Shared, shared
from decoct.methods.sizes import Sizes
from decoct.training.pretrain import PretrainConfig


@dataclass(frozen=True)
class AssistantItself(Method):
    """A control: with no further step, whoever holds the labeller holds this encoder."""

    name: ClassVar[str] = "assistant"
    summary: ClassVar[str] = "the assistant itself, without its head"
    makes_set: ClassVar[bool] = False
    keeps_encoder: ClassVar[bool] = False
    another_network: ClassVar[bool] = True

    labeller: Shared[LabellerConfig] = shared(LabellerConfig)

    def needs(self) -> tuple[str, ...]:
        """The assistant."""
        return ("assistant",)

    def facts(self, sizes: Sizes, pretraining: PretrainConfig) -> dict[str, Any]:
        """No image and no step: only its own bytes."""
        return {"images": 0, "bytes": labeller_bytes(self.labeller, sizes), "steps": 0}

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """The assistant, unchanged."""
        found = inputs.assistant.compact(self.labeller.weights)
        network = copy.deepcopy(found.network)  # other methods still need its head
        network.remove_head()
        return Encoder(
            network=network,
            config=found.config,
            size=found.size,
            mean=found.mean,
            std=found.std,
            provenance={"method": self.name},
        )
