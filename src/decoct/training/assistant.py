"""Train the assistant: a student of the targets that predicts a target for any view of an image.

A small network is the best source of targets that a small network can learn (Mirzadeh et al. 2020,
"Improved Knowledge Distillation via Teacher Assistant"). If the targets came from a file, there is
no teacher to label views, and the assistant is the only source.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.core import ranks, seeding
from decoct.core.errors import DecoctError
from decoct.core.settings import Count, NonNegative, Positive, Settings, Share
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.data.stored_views import draw_views, plain_views, show_views
from decoct.data.stream import stream_pixels
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.divided import of_batch
from decoct.training.loop import Length, Step, train


@dataclass(frozen=True)
class AssistantConfig(Settings):
    """How the assistant is trained; its rate falls to zero.

    SGD's usual rate is 0.2, with a cosine.
    """

    section: ClassVar[str] = "assistant"

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="convnet", width=64))
    epochs: Count = 12  # of the images
    batch: Count = 128  # images in a step
    optimiser: Literal["sgd", "muon"] = "muon"  # muon falls linearly, sgd by a cosine
    lr: Positive = 0.05  # suits Muon; SGD needs 0.2
    weight_decay: NonNegative = 1e-4  # of all weights
    plain: Share = 0.5  # fraction of the images that it sees unaugmented

    @property
    def rule(self) -> TrainingRule:
        """Muon with a linear schedule, or SGD with a cosine; both with momentum 0.9."""
        return TrainingRule(
            optimiser=self.optimiser,
            lr=self.lr,
            weight_decay=self.weight_decay,
            batch=self.batch,
            schedule="linear" if self.optimiser == "muon" else "cosine",
        )


def train_assistant(
    *,
    images: Images,
    targets: Targets,
    config: AssistantConfig | None = None,
    augment: AugmentConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> Assistant:
    """Train a network to predict, from a view of an image, the teacher's target for the image.

    `state` is the checkpoint's path; if one exists, training resumes from it, bit-identically.
    Raises `DecoctError` if the loss is not finite.

    >>> from decoct.artefacts.targets import TargetsConfig, fit_targets
    >>> pictures = Images.from_array(torch.rand(8, 3, 16, 16))
    >>> targets = fit_targets(torch.rand(8, 5), TargetsConfig())
    >>> config = AssistantConfig(network=NetworkConfig(width=4), epochs=1, batch=4, lr=0.01)
    >>> assistant = train_assistant(images=pictures, targets=targets, config=config)
    >>> assistant.label(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 5])
    """
    config, augment = config or AssistantConfig(), augment or AugmentConfig()
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    device = torch.device(device)
    images, values = images.to(device), targets.values.to(device)
    with seeding.seeded(seed, "assistant", "initialisation"):
        network = create_network(
            config.network, channels=images.channels, size=images.size, outputs=targets.dimensions
        ).to(device)
    whole = -(-len(images) // config.batch)

    def losses(model: nn.Module, epoch: int) -> Iterator[Step]:
        draws = seeding.generator(seed, "assistant", epoch)
        return _losses(model, images, values, config, augment, draws)

    means = train(
        network,
        losses,
        rule=config.rule,
        length=Length(config.epochs * whole, whole),
        label="assistant",
        on_divergence="the assistant diverged in epoch {epoch}; lower assistant.lr",
        state=state,
        metrics=metrics,
    )
    provenance = {"config": asdict(config), "seed": seed, "images": images.name, "losses": means}
    return Assistant(
        network=network.cpu().eval(),
        config=config.network,
        size=images.size,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        outputs=targets.dimensions,
        provenance=provenance,
    )


def _losses(
    model: nn.Module,
    images: Images,
    values: Tensor,
    config: AssistantConfig,
    augment: AugmentConfig,
    draws: torch.Generator,
) -> Iterator[Step]:
    """One epoch over all images, each either plain or as a view.

    What is drawn is for a whole batch; this rank shows its rows.
    """

    def loss(shown: Tensor, index: Tensor, count: int) -> Tensor:
        error = F.mse_loss(model((shown - mean) / std), values[index])
        return of_batch(error, rows=len(index), count=count)

    mean, std = images.mean.view(1, -1, 1, 1), images.std.view(1, -1, 1, 1)
    batches = torch.randperm(len(images), generator=draws).split(config.batch)
    own = [batch[ranks.rows(len(batch))] for batch in batches]
    read = stream_pixels(images, own, device=values.device)
    for count, (index, pixels) in zip(map(len, batches), read, strict=True):
        shown = pixels.float() / 255
        rows, is_viewed = ranks.rows(count), torch.rand(count, generator=draws) >= config.plain
        numbers = plain_views(count)
        numbers[is_viewed] = draw_views(augment, int(is_viewed.sum()), draws)
        viewed = is_viewed[rows].nonzero().flatten()
        if len(viewed):
            numbers = numbers[rows][viewed].to(values.device)
            viewed = viewed.to(values.device)  # indices, not a mask: no wait for the GPU
            shown[viewed] = show_views(shown[viewed], numbers)
        yield partial(loss, shown, index, count), count
