"""Pre-train an encoder on a distilled set: by mean squared error to its targets, if it has any."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, TrainingRule
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.console import progress
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.objective import Objective, view_loss

Loss = Callable[[Network, Tensor, Tensor], Tensor]  # of normalised images, and their targets
Batches = Iterator[tuple[Tensor, Tensor]]  # normalised images, and their targets


@dataclass(frozen=True)
class PretrainConfig:
    """Which network, for how long and how fast; the optimiser is the set's own rule."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    epochs: int = 20
    rate: float = 1.0  # a factor on the rule's learning rate

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise DecoctError(f"pretrain.epochs is {self.epochs}; at least 1 is needed")
        if not 0 < self.rate < math.inf:
            raise DecoctError(f"pretrain.rate is {self.rate}; give a positive factor")


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
    unless another is given. A set without targets is trained on by self-supervision, with the
    objective that it was made for. Raises `DecoctError` where the loss is not finite.

    >>> images, targets = torch.randn(4, 3, 8, 8), torch.randn(4, 2)
    >>> rule = TrainingRule(lr=0.1, momentum=0.0, weight_decay=0.0, batch=4)
    >>> small = DistilledSet(images=images, targets=targets, mean=torch.zeros(3),
    ...                      std=torch.ones(3), rule=rule, method="doc")
    >>> config = PretrainConfig(network=NetworkConfig(width=4), epochs=1)
    >>> pretrain(distilled=small, config=config).network.feature_count
    4
    """
    config, device = config or PretrainConfig(), torch.device(device)
    here = distilled.to(device)
    loss, outputs = _loss_of(here)
    fresh = fresh_encoder(
        config.network,
        mean=distilled.mean,
        std=distilled.std,
        size=distilled.size,
        outputs=outputs,
        seed=seed,
    )
    return _train(
        fresh,
        lambda batches: (here.read(batch.to(device)) for batch in batches),
        loss,
        count=len(here),
        rule=rule or here.rule,
        config=config,
        steps=None,
        seed=seed,
        method=distilled.method,
        device=device,
    )


def _loss_of(distilled: DistilledSet) -> tuple[Loss, int]:
    """What a network minimises on a set, and the outputs that it needs for it."""
    if distilled.has_targets:
        return _error, distilled.targets.shape[-1]
    objective = msgspec.convert(distilled.story["objective"], Objective)
    of_views = view_loss(objective, mean=distilled.mean, std=distilled.std, size=distilled.size)
    return lambda network, images, _: of_views(network, images), objective.projector


def _error(network: Network, images: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(network(images), targets)


def pretrain_on_all(
    *,
    images: Images,
    targets: Targets,
    rule: TrainingRule,
    config: PretrainConfig | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Encoder:
    """As `pretrain`, on all the real images, which may be more than fit in memory.

    `steps` are gradient steps in all, in place of `config.epochs`: the last epoch may be cut short.
    """
    device, config = torch.device(device), config or PretrainConfig()
    images = images.to(device)
    fresh = fresh_encoder(
        config.network,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        size=images.size,
        outputs=targets.dimensions,
        seed=seed,
    )
    values = targets.values.to(device)

    def read(batches: list[Tensor]) -> Batches:
        return ((x, values[index]) for index, x in stream(images, batches, device=device))

    return _train(
        fresh,
        read,
        _error,
        count=len(targets),
        rule=rule,
        config=config,
        steps=steps,
        seed=seed,
        method="full",
        device=device,
    )


def _train(
    encoder: Encoder,
    read: Callable[[list[Tensor]], Batches],
    loss_of: Loss,
    *,
    count: int,
    rule: TrainingRule,
    config: PretrainConfig,
    steps: int | None,
    seed: int,
    method: str,
    device: torch.device,
) -> Encoder:
    """The encoder trained on what `read` gives for batches of indices, its head taken off."""
    network = encoder.network.to(device)
    rule = replace(rule, lr=config.rate * rule.lr)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=rule.lr, momentum=rule.momentum, weight_decay=rule.weight_decay
    )
    whole = steps_an_epoch(count, rule.batch)
    steps = steps or config.epochs * whole
    epochs, losses = math.ceil(steps / whole), []
    with progress(f"pre-training on {method}", total=epochs) as advance:
        for epoch in range(epochs):
            draws = seeding.generator(seed, "pretrain", epoch)
            order = torch.randperm(count, generator=draws)
            batches = _batches(order, rule.batch)[: steps - epoch * whole]
            total = torch.zeros((), device=device)
            with seeding.seeded(seed, "pretrain", epoch, "views"):
                for images, targets in read(batches):
                    loss = loss_of(network, images, targets)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total += loss.detach() * len(images)
            losses.append(float(total) / sum(map(len, batches)))
            if not math.isfinite(losses[-1]):
                raise DivergedError(
                    f"pre-training on {method} diverged in epoch {epoch}; its learning "
                    f"rate {rule.lr:.3g} is too high for {encoder.config.name}"
                )
            advance(f"loss {losses[-1]:.4g}")
    network.remove_head()
    story: dict[str, Any] = {"method": method, "rule": vars(rule), "losses": losses}
    return replace(encoder, network=network.cpu().eval(), story=story)


def steps_an_epoch(count: int, batch: int) -> int:
    """Gradient steps that pre-training takes for an epoch of `count` images.

    >>> steps_an_epoch(16, 8), steps_an_epoch(17, 8), steps_an_epoch(18, 8)
    (2, 2, 3)
    """
    return len(_batches(torch.arange(count), batch))


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
