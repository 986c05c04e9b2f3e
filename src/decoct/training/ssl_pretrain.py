"""Pre-train an encoder by self-supervision on real images: a baseline without a teacher."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from decoct.artefacts.encoder import Encoder
from decoct.core.errors import DecoctError
from decoct.core.settings import Batch, CountOrNone, NonNegative, Positive, Settings, Width
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.training.objective import Algorithm
from decoct.training.pretrain import fresh_encoder
from decoct.training.teacher import SSLConfig, SSLOptimiser, train_teacher

_WARM_UP = 0.1  # fraction of training


@dataclass(frozen=True)
class SSLPretrainConfig(Settings):
    """How an encoder is pre-trained by self-supervision, without a teacher.

    With 0 epochs it takes as many gradient steps as distillation on the same number of images.
    """

    section: ClassVar[str] = "ssl"

    algorithm: Algorithm = "barlow_twins"  # the self-supervised loss
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    epochs: CountOrNone = 0  # on a subset
    full_epochs: CountOrNone = 0  # on all images
    batch: Batch = 256  # images in a step, each in two views
    optimiser: SSLOptimiser = "adam"  # its rate is lr
    lr: Positive = 1e-3  # suits Adam; Muon needs a larger one
    weight_decay: NonNegative = 1e-6  # of all weights
    projector: Width = 512  # width of the three-layer projector before the loss

    def steps(self, count: int, *, epochs: int, otherwise: int) -> int:
        """Gradient steps of `epochs` epochs of `count` images, or `otherwise` if `epochs` is 0.

        >>> config = SSLPretrainConfig(batch=16)
        >>> config.steps(40, epochs=3, otherwise=9), config.steps(40, epochs=0, otherwise=9)
        (6, 9)
        """
        return epochs * (count // min(self.batch, count)) or otherwise

    def training(self, network: NetworkConfig, epochs: int) -> SSLConfig:
        """The corresponding settings for a teacher; the rate rises over the first tenth."""
        return SSLConfig(
            algorithm=self.algorithm,
            network=network,
            augment=self.augment,
            epochs=epochs,
            warm_up=round(_WARM_UP * epochs),
            batch=self.batch,
            optimiser=self.optimiser,
            lr=self.lr,
            weight_decay=self.weight_decay,
            projector=self.projector,
        )


def check_self_supervision(count: int) -> None:
    """Raise `DecoctError` if there are too few images to tell apart."""
    if count < 2:
        raise DecoctError("self-supervision compares images: a set of 1 is too small for it")


def pretrain_by_ssl(
    *,
    images: Images,
    network: NetworkConfig,
    steps: int,
    config: SSLPretrainConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> Encoder:
    """Train `network`, initialised as in `pretrain`, for `steps` gradient steps on `images`.

    `state`, `metrics` and the errors raised are as in `train_teacher`.
    """
    config = config or SSLPretrainConfig()
    fresh = fresh_encoder(
        network, mean=images.mean.cpu(), std=images.std.cpu(), size=images.size, seed=seed
    )
    epochs = math.ceil(steps / max(1, len(images) // min(config.batch, len(images))))
    return train_teacher(
        images=images,
        config=config.training(network, epochs),
        seed=seed,
        device=device,
        state=state,
        metrics=metrics,
        network=fresh.network,
        steps=steps,
    )
