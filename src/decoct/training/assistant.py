"""The assistant: a student of the targets, on views of all images, that says a target for any view.

What a small network can learn of a teacher is best told by a small network (Mirzadeh et al. 2020,
"Improved Knowledge Distillation via Teacher Assistant"), and where targets were made elsewhere
nobody else can tell what a view's target is.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.core import checkpoint, seeding, storage
from decoct.core.console import Metrics, progress
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.augment import ViewsConfig
from decoct.data.images import Images
from decoct.data.stored_views import draw_views, show_views
from decoct.data.stream import stream_pixels
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network


@dataclass(frozen=True)
class AssistantConfig:
    """How the assistant is trained: SGD with momentum 0.9, its rate falling by half a cosine."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="convnet", width=64))
    epochs: int = 12
    batch: int = 128
    lr: float = 0.2
    weight_decay: float = 1e-4
    plain: float = 0.5  # share of the images that it sees as they are, and not a view of

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1:
            raise DecoctError("assistant: epochs and batch must be at least 1")
        if not 0 <= self.plain <= 1:
            raise DecoctError(f"assistant.plain is {self.plain}; give a share in [0, 1]")


@dataclass(frozen=True)
class Assistant:
    """A network with its head, and its own normalisation."""

    network: Network
    config: NetworkConfig
    size: int  # pixels
    mean: Tensor  # C, in [0, 1] units
    std: Tensor  # C
    outputs: int  # D
    story: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def label(self, views: Tensor, *, batch: int = 512) -> Tensor:
        """A target for each view: B x C x H x W in [0, 1] to B x D, on the views' device."""
        network = self.network.to(views.device).eval()
        mean, std = (t.to(views.device).view(1, -1, 1, 1) for t in (self.mean, self.std))
        return torch.cat([network((part - mean) / std) for part in views.split(batch)])

    def save(self, path: Path | str) -> None:
        """Write one safetensors file."""
        tensors = checkpoint.module_tensors("network", self.network)
        meta = {
            "config": asdict(self.config),
            "size": self.size,
            "outputs": self.outputs,
            "story": self.story,
        }
        storage.save_tensors(
            path, {**tensors, "mean": self.mean, "std": self.std}, kind="assistant", meta=meta
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        tensors, meta = storage.load_tensors(path, kind="assistant")
        config, mean, std = NetworkConfig(**meta["config"]), tensors.pop("mean"), tensors.pop("std")
        network = create_network(
            config, channels=len(mean), size=meta["size"], outputs=meta["outputs"]
        )
        checkpoint.restore_module("network", network, tensors)
        return cls(
            network=network.eval(),
            config=config,
            size=meta["size"],
            mean=mean,
            std=std,
            outputs=meta["outputs"],
            story=meta["story"],
        )


def train_assistant(
    *,
    images: Images,
    targets: Targets,
    config: AssistantConfig | None = None,
    views: ViewsConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> Assistant:
    """Train a network to say of a view what the teacher says of its image.

    `state` is where a checkpoint an epoch is kept: with one there, training goes on from it, to
    the same bits. Raises `DecoctError` where the loss is not finite.

    >>> from decoct.artefacts.targets import TargetsConfig, fit_targets
    >>> pictures = Images.from_array(torch.rand(8, 3, 16, 16))
    >>> targets = fit_targets(torch.rand(8, 5), TargetsConfig())
    >>> config = AssistantConfig(network=NetworkConfig(width=4), epochs=1, batch=4, lr=0.01)
    >>> assistant = train_assistant(images=pictures, targets=targets, config=config)
    >>> assistant.label(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 5])
    """
    config, views = config or AssistantConfig(), views or ViewsConfig()
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    device = torch.device(device)
    images, values = images.to(device), targets.values.to(device)
    with seeding.seeded(seed, "assistant", "initialisation"):
        network = create_network(
            config.network, channels=images.channels, size=images.size, outputs=targets.dimensions
        ).to(device)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=config.lr, momentum=0.9, weight_decay=config.weight_decay
    )
    losses, log = _restore(state, network, optimiser), Metrics(metrics)
    with progress("assistant, epochs", total=config.epochs, done=len(losses)) as advance:
        for epoch in range(len(losses), config.epochs):
            draws = seeding.generator(seed, "assistant", epoch)
            losses.append(_epoch(network, optimiser, images, values, config, views, epoch, draws))
            if not math.isfinite(losses[-1]):
                raise DivergedError(
                    f"the assistant's loss is {losses[-1]} in epoch {epoch}; lower assistant.lr"
                )
            log.write(epoch=epoch, loss=losses[-1])
            _save(state, network, optimiser, losses)
            advance(f"loss {losses[-1]:.4g}")
    story = {"config": asdict(config), "seed": seed, "images": images.name, "losses": losses}
    return Assistant(
        network=network.cpu().eval(),
        config=config.network,
        size=images.size,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        outputs=targets.dimensions,
        story=story,
    )


def _epoch(
    network: Network,
    optimiser: torch.optim.Optimizer,
    images: Images,
    values: Tensor,
    config: AssistantConfig,
    views: ViewsConfig,
    epoch: int,
    draws: torch.Generator,
) -> float:
    """Once through all images, each as it is or as a view; the mean loss."""
    network.train()
    mean, std = images.mean.view(1, -1, 1, 1), images.std.view(1, -1, 1, 1)
    batches = torch.randperm(len(images), generator=draws).split(config.batch)
    total = torch.zeros((), device=values.device)
    chunks = stream_pixels(images, batches, device=values.device)
    for step, (index, pixels) in enumerate(chunks):
        done = (epoch + step / len(batches)) / config.epochs
        optimiser.param_groups[0]["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * done))
        shown = pixels.float() / 255
        viewed = (torch.rand(len(index), generator=draws) >= config.plain).nonzero().flatten()
        if len(viewed):
            numbers = draw_views(views, len(viewed), draws).to(values.device)
            viewed = viewed.to(values.device)  # rows, not a mask: a GPU need not be waited for
            shown[viewed] = show_views(shown[viewed], numbers)
        loss = F.mse_loss(network((shown - mean) / std), values[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(index)
    return float(total) / len(images)


def _save(
    state: Path | None, network: Network, optimiser: torch.optim.Optimizer, losses: list[float]
) -> None:
    tensors = checkpoint.module_tensors("network", network)
    tensors |= checkpoint.optimiser_tensors("optimiser", optimiser)
    checkpoint.save(state, tensors, meta={"losses": losses})


def _restore(state: Path | None, network: Network, optimiser: torch.optim.Optimizer) -> list[float]:
    """The losses of the epochs done, their network and moments put back."""
    saved = checkpoint.load(state)
    if saved is None:
        return []
    tensors, meta = saved
    checkpoint.restore_module("network", network, tensors)
    checkpoint.restore_optimiser("optimiser", optimiser, tensors)
    return list(meta["losses"])
