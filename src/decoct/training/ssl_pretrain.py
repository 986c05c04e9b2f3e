"""Pre-train an encoder by self-supervision on real images: the baseline that needs no teacher."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from decoct.artefacts.encoder import Encoder
from decoct.core.errors import DecoctError
from decoct.data.augment import ViewsConfig
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.training.objective import Algorithm
from decoct.training.pretrain import fresh_encoder
from decoct.training.teacher import SSLConfig, train_teacher

SSL_METHODS = ("ssl-random", "ssl-full", "ssl-full-steps")
_WARM_UP = 0.1  # share of training


@dataclass(frozen=True)
class SSLPretrainConfig:
    """How ssl-random and ssl-full train the network that all methods pre-train.

    With 0 epochs they take as many gradient steps as distillation does on as many images.
    """

    algorithm: Algorithm = "barlow_twins"
    views: ViewsConfig = field(default_factory=ViewsConfig)
    epochs: int = 0  # of ssl-random
    full_epochs: int = 0  # of ssl-full
    batch: int = 256
    lr: float = 1e-3  # Adam
    weight_decay: float = 1e-6
    projector: int = 512  # width of the three-layer projector that the loss sees

    def __post_init__(self) -> None:
        if min(self.epochs, self.full_epochs) < 0 or self.batch < 2:
            raise DecoctError("ssl: epochs must be 0 or more, the batch at least 2")

    def steps(self, count: int, *, epochs: int, otherwise: int) -> int:
        """Gradient steps of so many epochs of `count` images; `otherwise`, where those are 0.

        >>> config = SSLPretrainConfig(batch=16)
        >>> config.steps(40, epochs=3, otherwise=9), config.steps(40, epochs=0, otherwise=9)
        (6, 9)
        """
        return epochs * (count // min(self.batch, count)) or otherwise

    def training(self, network: NetworkConfig, epochs: int) -> SSLConfig:
        """The same as a teacher's; the rate rises over the first tenth."""
        return SSLConfig(
            algorithm=self.algorithm,
            network=network,
            views=self.views,
            epochs=epochs,
            warm_up=round(_WARM_UP * epochs),
            batch=self.batch,
            lr=self.lr,
            weight_decay=self.weight_decay,
            projector=self.projector,
        )


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
    """Train `network`, initialised as `pretrain` would, for `steps` gradient steps on `images`.

    `state`, `metrics` and the errors raised are as `train_teacher` has them.
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
