"""All images with their targets: the best result that a small set could hope for."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core.place import Place
from decoct.evaluation.scores import UPPER
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method, Shared, shared
from decoct.training.pretrain import pretrain_on_all


@dataclass(frozen=True)
class Full(Method):
    """The upper bound, trained for its own number of epochs."""

    name: ClassVar[str] = UPPER
    summary: ClassVar[str] = "all images with their targets"
    makes_set: ClassVar[bool] = False
    whole_pool: ClassVar[bool] = True

    rule: Shared[TrainingRule] = shared(TrainingRule)

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """Minimise the mean squared error."""
        return pretrain_on_all(
            images=inputs.images,
            targets=inputs.targets,
            rule=self.rule,
            config=inputs.pretraining,
            steps=inputs.steps,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
        )
