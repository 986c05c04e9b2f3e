"""Pre-train an encoder on a distilled set, by distillation: mean squared error to its targets."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct import seeding
from decoct.console import progress
from decoct.distilled import DistilledSet, TrainingRule
from decoct.encoder import Encoder
from decoct.errors import DecoctError
from decoct.models.registry import NetworkConfig, create_network


@dataclass(frozen=True)
class PretrainConfig:
    """Which network, and for how long; the optimiser is the set's own rule."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    epochs: int = 20

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise DecoctError(f"pretrain.epochs is {self.epochs}; at least 1 is needed")


def pretrain(
    *,
    distilled: DistilledSet,
    config: PretrainConfig | None = None,
    rule: TrainingRule | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Encoder:
    """Train a fresh network on (image, target) pairs and take its head off.

    The learnt rate belongs to the optimiser it was learnt for, so the set's own rule is used
    unless another is given. Raises `DecoctError` where the loss is not finite.

    >>> images, targets = torch.randn(4, 3, 8, 8), torch.randn(4, 2)
    >>> rule = TrainingRule(lr=0.1, momentum=0.0, weight_decay=0.0, batch=4)
    >>> small = DistilledSet(images=images, targets=targets, mean=torch.zeros(3),
    ...                      std=torch.ones(3), rule=rule, method="doc")
    >>> config = PretrainConfig(network=NetworkConfig(width=4), epochs=1)
    >>> pretrain(distilled=small, config=config).network.feature_count
    4
    """
    config, rule = config or PretrainConfig(), rule or distilled.rule
    device = torch.device(device)
    network = fresh_encoder(
        config.network, mean=distilled.mean, std=distilled.std, size=distilled.size,
        outputs=distilled.targets.shape[1], seed=seed,
    ).network.to(device)  # fmt: skip
    optimiser = torch.optim.SGD(
        network.parameters(), lr=rule.lr, momentum=rule.momentum, weight_decay=rule.weight_decay
    )
    images, targets = distilled.images.to(device), distilled.targets.to(device)
    losses = []
    with progress(f"pre-training on {distilled.method}", total=config.epochs) as advance:
        for epoch in range(config.epochs):
            order = torch.randperm(
                len(images), generator=seeding.generator(seed, "pretrain", epoch)
            )
            total = torch.zeros((), device=device)
            for index in _batches(order.to(device), rule.batch):
                loss = F.mse_loss(network(images[index]), targets[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.detach() * len(index)
            losses.append(float(total) / len(images))
            if not math.isfinite(losses[-1]):
                raise DecoctError(
                    f"pre-training on {distilled.method} diverged in epoch {epoch}; its learning "
                    f"rate {rule.lr:.3g} is too high for {config.network.name}"
                )
            advance(f"loss {losses[-1]:.4g}")
    network.remove_head()
    story: dict[str, Any] = {"method": distilled.method, "rule": vars(rule), "losses": losses}
    return Encoder(
        network=network.cpu().eval(), config=config.network, size=distilled.size,
        mean=distilled.mean, std=distilled.std, story=story,
    )  # fmt: skip


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of an order; a single image left over joins the last, for batch norm needs two."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def fresh_encoder(
    config: NetworkConfig,
    *,
    mean: Tensor,
    std: Tensor,
    size: int,
    outputs: int = 1,
    seed: int,
) -> Encoder:
    """The network as initialised, with the seed that pre-training would give it."""
    with seeding.seeded(seed, "pretrain", "initialisation"):
        network = create_network(config, channels=len(mean), size=size, outputs=outputs)
    return Encoder(network=network, config=config, size=size, mean=mean, std=std)
