"""Self-supervision on the random subset: there is no teacher, so there are no targets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core.place import Place
from decoct.data.images import Images
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method, Shared, shared
from decoct.methods.random import random_rows
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit, ssl_step
from decoct.training.pretrain import PretrainConfig
from decoct.training.ssl_pretrain import SSLPretrainConfig, check_self_supervision, pretrain_by_ssl


@dataclass(frozen=True)
class SSLRandom(Method):
    """The baseline that needs no teacher."""

    name: ClassVar[str] = "ssl-random"
    summary: ClassVar[str] = "self-supervision on random real images, without a teacher"
    makes_set: ClassVar[bool] = False

    ssl: Shared[SSLPretrainConfig] = shared(SSLPretrainConfig)
    rule: Shared[TrainingRule] = shared(TrainingRule)  # its batch determines the number of steps

    def needs(self) -> tuple[str, ...]:
        """The images only."""
        return ("images",)

    @property
    def epochs(self) -> int:
        """Its own number of epochs; 0: as many steps as distillation."""
        return self.ssl.epochs

    def images(self, inputs: Inputs) -> Images:
        """The images that it trains on."""
        return inputs.images.subset(random_rows(inputs))

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """Train on two augmented views of each image."""
        factor = inputs.pretraining.lr_factor
        return pretrain_by_ssl(
            images=self.images(inputs),
            network=inputs.pretraining.network,
            config=replace(self.ssl, lr=factor * self.ssl.lr),
            steps=inputs.steps,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    def steps(self, sizes: Sizes, pretraining: PretrainConfig) -> int:
        """As many as distillation takes on the same number of images, unless `ssl` gives epochs."""
        otherwise = super().steps(sizes, pretraining)
        if self.as_many_steps_as:
            return otherwise
        return self.ssl.steps(self.seen(sizes), epochs=self.epochs, otherwise=otherwise)

    def bytes_an_image(self, sizes: Sizes) -> float:
        """The pixels only: there are no targets."""
        return super().bytes_an_image(replace(sizes, dimensions=0))

    def pretraining_work(self, sizes: Sizes, pretraining: PretrainConfig) -> Mapping[Unit, float]:
        """Steps on two augmented views."""
        count = sizes.images if self.whole_pool else sizes.count
        images = self.steps(sizes, pretraining) * min(self.ssl.batch, count)
        return {ssl_step(self.ssl.training(pretraining.network, epochs=1)): images}

    def check(self, sizes: Sizes) -> None:
        """There must be at least two images."""
        check_self_supervision(sizes.images if self.whole_pool else sizes.count)

    def _length(self, pretraining: PretrainConfig) -> dict[str, int]:
        return {}
