"""Train a teacher with self-supervised learning on augmented views."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from decoct.artefacts.encoder import Encoder
from decoct.core import checkpoint, seeding
from decoct.core.console import Metrics, progress
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.augment import ViewsConfig, make_views
from decoct.data.images import Images
from decoct.data.stream import stream_pixels
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.objective import SSL_LOSSES, Algorithm


@dataclass(frozen=True)
class SSLConfig:
    """How a teacher is trained. The defaults are the published SimCLR teacher's."""

    algorithm: Algorithm = "barlow_twins"
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="resnet18"))
    views: ViewsConfig = field(default_factory=ViewsConfig)
    epochs: int = 400
    warm_up: int = 10  # epochs of linear warm-up before the cosine
    batch: int = 512
    lr: float = 1e-3  # Adam
    weight_decay: float = 1e-6
    projector: int = 1024  # width of the three-layer projector that the loss sees

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise DecoctError("a teacher needs at least 1 epoch and a batch of 2")


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

    `network` is one of that kind to start from, in place of a fresh one; it is trained itself.
    `steps` are gradient steps in all, in place of `config.epochs`: the last epoch may be cut short.
    `state` is where a checkpoint an epoch is kept: with one there, training goes on from it, to
    the same bits. Raises `DecoctError` where there are fewer images than two, or the loss is not
    finite.
    """
    device = torch.device(device)
    images = images.to(device)
    batch = min(config.batch, len(images))
    if batch < 2:
        raise DecoctError("self-supervised training cannot learn from a single image")
    network, optimiser = _fresh(config, images, seed, device, network)
    whole = len(images) // batch  # steps of an epoch
    steps = steps or config.epochs * whole
    epochs = steps / whole
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _cosine(step / whole, config.warm_up, epochs)
    )
    losses, start = _restore(state, network, optimiser, schedule)
    views, log = make_views(config.views, images), Metrics(metrics)
    label = f"self-supervised ({config.algorithm}), epochs"
    with progress(label, total=math.ceil(epochs), done=start) as advance:
        for epoch in range(start, math.ceil(epochs)):
            left = min(whole, steps - epoch * whole)
            with seeding.seeded(seed, "teacher", epoch):
                loss = _epoch(network, optimiser, schedule, images, batch, left, views, config)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the self-supervised loss is {loss} at epoch {epoch}; lower its lr"
                )
            losses.append(loss)
            log.write(epoch=epoch, loss=loss)
            _save(state, network, optimiser, losses)
            advance(f"loss {loss:.4g}")
    network.remove_head()
    story = {"config": asdict(config), "images": images.name, "seed": seed, "losses": losses}
    return Encoder(
        network=network.cpu().eval(),
        config=config.network,
        size=images.size,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        story=story,
    )


def _fresh(
    config: SSLConfig, images: Images, seed: int, device: torch.device, network: Network | None
) -> tuple[Network, torch.optim.Optimizer]:
    with seeding.seeded(seed, "teacher", "initialisation"):
        network = network or create_network(
            config.network, channels=images.channels, size=images.size, outputs=1
        )
        network.head = _projector(network.feature_count, config.projector)
    network = network.to(device)
    optimiser = torch.optim.Adam(
        network.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    return network, optimiser


def _projector(features: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (features, width):
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, width, bias=False))


def _cosine(epoch: float, warm_up: int, epochs: float) -> float:
    """The share of the full rate at a (fractional) epoch: linear warm-up, then half a cosine."""
    if epoch < warm_up:
        return (epoch + 0.1) / (warm_up + 0.1)
    done = (epoch - warm_up) / max(1e-9, epochs - warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _epoch(
    network: Network,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    images: Images,
    batch: int,
    steps: int,
    views: Callable[[Tensor], Tensor],
    config: SSLConfig,
) -> float:
    network.train()
    device = images.mean.device
    order = torch.randperm(len(images))
    total = torch.zeros((), device=device)
    batches = order[: steps * batch].view(steps, batch)  # the rest waits for the next shuffle
    for _, pixels in stream_pixels(images, batches, device=device):
        z = network(torch.cat([views(pixels), views(pixels)]))
        loss = SSL_LOSSES[config.algorithm](*z.chunk(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.detach()
    return float(total) / steps


def _save(
    state: Path | None, network: Network, optimiser: torch.optim.Optimizer, losses: list[float]
) -> None:
    tensors = {
        **checkpoint.module_tensors("network", network),
        **checkpoint.optimiser_tensors("optimiser", optimiser),
    }
    steps = next(int(v) for k, v in tensors.items() if k.endswith(".step"))
    checkpoint.save(state, tensors, meta={"losses": losses, "steps": steps})


def _restore(
    state: Path | None,
    network: Network,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> tuple[list[float], int]:
    saved = checkpoint.load(state)
    if saved is None:
        return [], 0
    tensors, meta = saved
    checkpoint.restore_module("network", network, tensors)
    checkpoint.restore_optimiser("optimiser", optimiser, tensors)
    schedule.last_epoch = meta["steps"] - 1
    schedule._step_count = meta["steps"] + 1  # not 1, at which torch would warn
    schedule.step()
    return list(meta["losses"]), len(meta["losses"])
