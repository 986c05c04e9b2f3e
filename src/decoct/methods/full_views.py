"""All images in fresh views that the assistant labels: what a set that carries it could reach."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.core.place import Place
from decoct.methods.carried import LabellerConfig
from decoct.methods.full import Full
from decoct.methods.inputs import Inputs
from decoct.methods.method import Shared, shared
from decoct.training.pretrain import pretrain_on_all


@dataclass(frozen=True)
class FullViews(Full):
    """A control for the methods that carry their labeller."""

    name: ClassVar[str] = "full-views"
    summary: ClassVar[str] = "all images in fresh views that the assistant labels"

    labeller: Shared[LabellerConfig] = shared(LabellerConfig)

    def needs(self) -> tuple[str, ...]:
        """All images and the labeller."""
        return ("images", "assistant")

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """As on a set that carries the labeller."""
        return pretrain_on_all(
            images=inputs.images,
            targets=(inputs.assistant, self.labeller.fresh),
            rule=self.rule,
            config=inputs.pretraining,
            steps=inputs.steps,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
        )
