"""Train a teacher by self-supervised learning on augmented views."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core import ranks, seeding
from decoct.core.errors import DecoctError
from decoct.core.settings import (
    Batch,
    Count,
    CountOrNone,
    NonNegative,
    Positive,
    Settings,
    Width,
)
from decoct.data.augment import AugmentConfig, Augmenter, augmenter
from decoct.data.images import Images
from decoct.data.stream import stream_pixels
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.loop import Length, Step, train
from decoct.training.objective import SSL_LOSSES, Algorithm, Loss, of_ranks

SSLOptimiser = Literal["adam", "muon"]


@dataclass(frozen=True)
class SSLConfig(Settings):
    """How a teacher is trained. The defaults are those of the published SimCLR teacher."""

    section: ClassVar[str] = "teacher.ssl"

    algorithm: Algorithm = "barlow_twins"  # the self-supervised loss
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="resnet18"))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    epochs: Count = 400  # of the pool
    steps: CountOrNone = 0  # gradient steps, in place of epochs
    warm_up: CountOrNone = 10  # epochs of linear warm-up before the cosine
    batch: Batch = 512  # images in a step, each in two views
    optimiser: SSLOptimiser = "adam"  # its rate is lr
    lr: Positive = 1e-3  # suits Adam; Muon needs a larger one
    weight_decay: NonNegative = 1e-6  # of all weights
    projector: Width = 1024  # width of the three-layer projector before the loss

    @property
    def rule(self) -> TrainingRule:
        """Adam or Muon, with a cosine schedule after the warm-up."""
        return TrainingRule(
            lr=self.lr,
            momentum=0.9 if self.optimiser == "muon" else 0.0,
            weight_decay=self.weight_decay,
            batch=self.batch,
            optimiser=self.optimiser,
            schedule="cosine",
            warm_up=self.warm_up,
        )

    def seen(self, total: int) -> int:
        """How many images training on `total` images looks at, in two views each.

        >>> SSLConfig(epochs=3).seen(1000), SSLConfig(steps=10, batch=32).seen(1000)
        (3000, 320)
        """
        return self.steps * min(self.batch, total) or self.epochs * total


def train_teacher(
    *,
    images: Images,
    config: SSLConfig,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
    network: Network | None = None,
    steps: int | None = None,
) -> Encoder:
    """Train `config.network` on `images` without labels.

    `network` is an initial network of that kind, which is trained in place; default: a fresh one.
    `steps`, the total number of gradient steps, replaces the config's length; the last epoch may be
    short. `state` is the checkpoint's path; if one exists, training resumes from it,
    bit-identically. Raises `DecoctError` for fewer than two images, or if the loss is not finite.
    """
    device = torch.device(device)
    images = images.to(device)
    batch = min(config.batch, len(images))
    if batch < 2:
        raise DecoctError("self-supervised training cannot learn from a single image")
    network = _with_projector(config, images, seed, network).to(device)
    whole = len(images) // batch  # leftover images of an epoch wait for the next shuffle
    length = Length(steps or config.steps or config.epochs * whole, whole)
    augment = augmenter(config.augment, images)

    def losses(model: nn.Module, epoch: int) -> Iterator[Step]:
        with seeding.seeded(seed, "teacher", epoch):
            shape = (length.steps_of(epoch), batch)
            yield from _losses(model, images, augment, shape, SSL_LOSSES[config.algorithm])

    means = train(
        network,
        losses,
        rule=config.rule,
        length=length,
        label=f"self-supervised ({config.algorithm})",
        on_divergence="self-supervised training diverged in epoch {epoch}; lower its lr",
        state=state,
        metrics=metrics,
    )
    network.remove_head()
    provenance = {"config": asdict(config), "images": images.name, "seed": seed, "losses": means}
    return Encoder(
        network=network.cpu().eval(),
        config=config.network,
        size=images.size,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        provenance=provenance,
    )


def _with_projector(
    config: SSLConfig, images: Images, seed: int, network: Network | None
) -> Network:
    """The given network, or a fresh one, with the projector as its head."""
    with seeding.seeded(seed, "teacher", "initialisation"):
        network = network or create_network(
            config.network, channels=images.channels, size=images.size, outputs=1
        )
        network.head = _projector(network.feature_count, config.projector)
    return network


def _projector(features: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (features, width):
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, width, bias=False))


def _losses(
    model: nn.Module, images: Images, augment: Augmenter, shape: tuple[int, int], loss: Loss
) -> Iterator[Step]:
    """The loss of two augmented views for each batch; `shape` is the number and size of batches.

    This rank augments its rows of a batch; the loss is that of all rows.
    """

    def of_views(pixels: Tensor) -> Tensor:
        views = torch.cat([augment(pixels, count=batch), augment(pixels, count=batch)])
        return loss(*of_ranks(model(views), count=batch))

    steps, batch = shape
    batches = torch.randperm(len(images))[: steps * batch].view(steps, batch)
    own = batches[:, ranks.rows(batch)]
    for _, pixels in stream_pixels(images, own, device=images.mean.device):
        yield partial(of_views, pixels), 1
