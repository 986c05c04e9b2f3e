"""Pre-train an encoder on a distilled set: by mean squared error if the set has targets."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.core import ranks, seeding
from decoct.core.forms import typed
from decoct.core.settings import Count, CountOrNone, Positive, Settings
from decoct.data.images import Images
from decoct.data.stored_views import FreshViews, show_views
from decoct.data.stream import stream, stream_pixels
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.divided import of_batch
from decoct.training.loop import Length, Step, train
from decoct.training.objective import Objective, view_loss

# of normalised images and their targets: this rank's, of a batch of so many
Loss = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
Trainer = Literal["own", "sgd", "adamw", "muon"]  # own: the optimiser of the set's rule
Labelled = tuple[Assistant, FreshViews]  # the labeller, and the views that it labels
Batches = Iterator[tuple[Tensor, Tensor]]  # this rank's normalised images and their targets


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """The network, the length and the speed; otherwise training follows the set's own rule."""

    section: ClassVar[str] = "pretrain"

    network: NetworkConfig = field(default_factory=NetworkConfig)
    epochs: Count = 20  # of the set
    steps: CountOrNone = 0  # gradient steps, in place of epochs
    optimiser: Trainer = "own"  # in place of the rule's
    lr_factor: Positive = 1.0  # multiplies the rule's learning rate

    def rule(self, own: TrainingRule) -> TrainingRule:
        """How to train on a set whose own rule is `own`.

        Another optimiser comes with its usual rate and schedule; the same one keeps its own.

        >>> PretrainConfig(optimiser="muon", lr_factor=2).rule(TrainingRule()).lr
        0.1
        """
        if self.optimiser not in ("own", own.optimiser):
            own = own.by(self.optimiser)  # type: ignore[arg-type]  # mypy 1.x does not narrow by in
        return replace(own, lr=self.lr_factor * own.lr)

    def length(self, count: int, batch: int) -> Length:
        """How long training on `count` images lasts.

        >>> PretrainConfig(epochs=3).length(100, 50).steps
        6
        """
        whole = steps_an_epoch(count, batch)
        return Length(self.steps or self.epochs * whole, whole)


def pretrain(
    *,
    distilled: DistilledSet,
    config: PretrainConfig | None = None,
    rule: TrainingRule | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
) -> Encoder:
    """Train a fresh network on (image, target) pairs and remove its head.

    By default it uses the set's own rule, because a learnt rate belongs to the optimiser that it
    was learnt for. On a set without targets it trains by self-supervision, with the objective that
    the set was made for. `state` is the checkpoint's path; if one exists, training resumes from it,
    bit-identically. Raises `DecoctError` if the loss is not finite.

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
        lambda batches: (here.read(b.to(device), rows=ranks.rows(len(b))) for b in batches),
        loss,
        count=len(here),
        rule=rule or here.rule,
        config=config,
        steps=None,
        seed=seed,
        method=distilled.method,
        device=device,
        state=state,
    )


def _loss_of(distilled: DistilledSet) -> tuple[Loss, int]:
    """The loss that a network minimises on a set, and the number of outputs that it needs."""
    if distilled.has_targets:
        return _error, distilled.dimensions
    objective = typed(distilled.provenance["objective"], Objective)
    of_views = view_loss(objective, mean=distilled.mean, std=distilled.std, size=distilled.size)
    return lambda model, images, _, n: of_views(model, images, count=n), objective.projector


def _error(model: nn.Module, images: Tensor, targets: Tensor, count: int) -> Tensor:
    return of_batch(F.mse_loss(model(images), targets), rows=len(images), count=count)


def pretrain_on_all(
    *,
    images: Images,
    targets: Targets | Labelled,
    rule: TrainingRule,
    config: PretrainConfig | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
) -> Encoder:
    """As `pretrain`, on all the real images, which may not fit in memory.

    They are shown as they are, with their targets, or in fresh views that an assistant labels.
    `steps`, the total number of gradient steps, replaces `config.epochs`; the last epoch may be
    cut short.
    """
    device, config = torch.device(device), config or PretrainConfig()
    images = images.to(device)
    fresh = fresh_encoder(
        config.network,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        size=images.size,
        outputs=targets.dimensions if isinstance(targets, Targets) else targets[0].outputs,
        seed=seed,
    )
    return _train(
        fresh,
        _reader(images, targets, device),
        _error,
        count=len(images),
        rule=rule,
        config=config,
        steps=steps,
        seed=seed,
        method="all images",
        device=device,
        state=state,
    )


def _reader(
    images: Images, targets: Targets | Labelled, device: torch.device
) -> Callable[[list[Tensor]], Batches]:
    """What yields this rank's rows of all images, batch by batch, with their targets."""

    def own(batches: list[Tensor]) -> list[Tensor]:
        return [batch[ranks.rows(len(batch))] for batch in batches]

    if isinstance(targets, Targets):
        values = targets.values.to(device)
        return lambda batches: (
            (x, values[i]) for i, x in stream(images, own(batches), device=device)
        )
    assistant, fresh = targets
    mean, std = images.mean.view(1, -1, 1, 1), images.std.view(1, -1, 1, 1)

    def read(batches: list[Tensor]) -> Batches:
        pixels = stream_pixels(images, own(batches), device=device)
        for count, (_, rows) in zip(map(len, batches), pixels, strict=True):
            numbers = fresh.draw(count)[ranks.rows(count)].to(device)
            shown = show_views(rows.float() / 255, numbers)
            yield (shown - mean) / std, assistant.label(shown)

    return read


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
    state: Path | None,
) -> Encoder:
    """Train an encoder on what `read` returns for batches of indices, and remove its head."""
    network = encoder.network.to(device)
    rule = config.rule(rule)
    length = config.length(count, rule.batch)
    if steps is not None:
        length = replace(length, steps=steps)

    def losses(model: nn.Module, epoch: int) -> Iterator[Step]:
        order = torch.randperm(count, generator=seeding.generator(seed, "pretrain", epoch))
        batches = split_batches(order, rule.batch)[: length.steps_of(epoch)]
        with seeding.seeded(seed, "pretrain", epoch, "views"):
            for batch, (images, targets) in zip(batches, read(batches), strict=True):
                yield partial(loss_of, model, images, targets, len(batch)), len(batch)

    means = train(
        network,
        losses,
        rule=rule,
        length=length,
        label=f"pre-training on {method}",
        on_divergence=f"pre-training on {method} diverged in epoch {{epoch}}; its learning rate "
        f"{rule.lr:.3g} is too high for {encoder.config.name}",
        state=state,
    )
    network.remove_head()
    provenance: dict[str, Any] = {"method": method, "rule": asdict(rule), "losses": means}
    return replace(encoder, network=network.cpu().eval(), provenance=provenance)


def steps_an_epoch(count: int, batch: int) -> int:
    """Gradient steps that pre-training takes for an epoch of `count` images.

    >>> steps_an_epoch(16, 8), steps_an_epoch(17, 8), steps_an_epoch(18, 8)
    (2, 2, 3)
    """
    return len(split_batches(torch.arange(count), batch))


def split_batches(order: Tensor, size: int) -> list[Tensor]:
    """An order in batches; a single leftover image joins the last, for batch norm."""
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
