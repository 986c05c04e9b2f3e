"""MTT-SSL: match the trajectories of students that train by the self-supervised loss itself.

The naive baseline of MKDT (section 4): the inner loop takes the loss on augmented views of the
synthetic images, and there are no targets. All else is MKDT's, on equal terms.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, versions
from decoct.artefacts.trajectories import Trajectories
from decoct.core import checkpoint, seeding
from decoct.core.device import arithmetic
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.matching.cuda_graph import Match
from decoct.matching.inner_gradient import FlatLoss, InnerGradient, flat_network
from decoct.matching.unroll import matching_gradient
from decoct.methods.mkdt import (
    MKDTConfig,
    check_matching,
    create_learner,
    learn,
    learnt,
    search_rate,
)
from decoct.models.network import Network
from decoct.models.registry import create_network
from decoct.training.experts import ExpertsConfig, Gradient, train_experts_by
from decoct.training.objective import Objective, view_loss


@dataclass(frozen=True)
class MTTSSLConfig:
    """What is this method's own; matching is else as `MKDTConfig` says.

    Unless `MKDTConfig.rate` gives it, the first inner rate is searched for from a fifth of `lr` on.
    """

    objective: Objective = field(default_factory=Objective)
    lr: float = 0.03  # of the experts; others of their settings are `ExpertsConfig`'s
    iterations: int = 0  # of matching; 0: as many as `MKDTConfig` has

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise DecoctError(f"mtt_ssl.lr is {self.lr}; give a positive one")
        if self.iterations < 0:
            raise DecoctError(f"mtt_ssl.iterations is {self.iterations}; give 0 or more")


def train_ssl_experts(
    *,
    images: Images,
    folder: Path | str,
    config: MTTSSLConfig | None = None,
    experts: ExpertsConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Trajectories:
    """As `train_experts`, by the self-supervised loss on views drawn afresh at each step.

    In float32 or tf32, and never compiled: the gradient is autograd's.
    """
    config, experts = config or MTTSSLConfig(), experts or ExpertsConfig()

    def make(network: Network, images: Images, *_: object) -> Gradient:
        loss = flat_loss(network, images, config.objective)
        return InnerGradient.by_autograd(loss).gradient

    return train_experts_by(
        make,
        images=images,
        values=torch.zeros(len(images), 0),
        folder=folder,
        seed=seed,
        outputs=config.objective.projector,
        config=replace(experts, lr=config.lr),
        device=device,
    )


def mtt_ssl(
    *,
    images: Images,
    trajectories: Trajectories,
    start: Tensor,
    config: MTTSSLConfig | None = None,
    matching: MKDTConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `start` (int64, m) without targets: those of the set are m x 0.

    `trajectories` are from `train_ssl_experts` with the same `config`; `matching` is as `mkdt`
    takes it, but `compile`, `graphs` and `memory` have no effect. What an inner step draws follows
    from seed, iteration and step alone, the same forward and back. Checkpoints, and what is done
    about a loss that is not finite, are as `mkdt` has them; so are the errors raised.
    """
    config, matching = config or MTTSSLConfig(), matching or MKDTConfig()
    matching = replace(matching, iterations=config.iterations or matching.iterations)
    check_matching(matching, trajectories, start)
    device = torch.device(device)
    real = images.subset(start).to(device).normalised()
    objective = config.objective
    network = create_network(
        trajectories.network,
        channels=images.channels,
        size=images.size,
        outputs=objective.projector,
    ).to(device)
    loss = flat_loss(network, images, objective)

    def steps(*at: int | str) -> list[InnerGradient]:
        losses = step_losses(loss, count=matching.inner_steps, seed=seed, at=at)
        return [InnerGradient.by_autograd(step) for step in losses]

    def match_at(iteration: int, expert: int) -> Match:
        return partial(
            matching_gradient, steps(iteration, expert), momentum=matching.inner_momentum
        )

    learner = create_learner(real, real.new_zeros(len(start), 0), matching)
    saved = checkpoint.load(state)
    with arithmetic(matching.precision):
        if saved is None:
            rate = matching.rate or search_rate(
                steps("rate"), learner, trajectories, matching, seed, first=config.lr / 5
            )
            learner.log_rate.data.fill_(math.log(rate))
        else:
            learner.restore(*saved)
        learn(
            learner,
            match_at,
            trajectories,
            matching,
            seed=seed,
            state=state,
            metrics=metrics,
            method="MTT-SSL",
        )
    story = {"config": asdict(config), "matching": asdict(matching), "seed": seed}
    story |= {"objective": asdict(objective), "images": images.name, **versions()}
    return DistilledSet(
        **learnt(learner, matching),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        method="mtt-ssl",
        start=real.cpu(),
        index=start,
        network=trajectories.network,
        story=story,
    )


def flat_loss(network: Network, images: Images, objective: Objective) -> FlatLoss:
    """The loss of parameters and of images normalised as `images`; targets are not looked at."""
    forward, device = flat_network(network), next(network.parameters()).device
    mean, std = images.mean.to(device), images.std.to(device)
    loss = view_loss(objective, mean=mean, std=std, size=images.size)

    def flat(theta: Tensor, pictures: Tensor, _: Tensor) -> Tensor:
        return loss(partial(forward, theta), pictures)

    return flat


def step_losses(
    loss: FlatLoss, *, count: int, seed: int, at: tuple[int | str, ...]
) -> list[FlatLoss]:
    """A loss that draws from torch's global generator, its draws fixed for each of T steps.

    They follow from seed, place (`at`) and step, however often a step is gone through.

    >>> first, second = step_losses(lambda *_: torch.rand(()), count=2, seed=0, at=(7,))
    >>> none = torch.zeros(0)
    >>> first(none, none, none) == first(none, none, none) != second(none, none, none)
    tensor(True)
    """

    def fixed(step: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        def drawn(theta: Tensor, images: Tensor, targets: Tensor) -> Tensor:
            with seeding.seeded(seed, "mtt-ssl", *at, step):
                return loss(theta, images, targets)

        return drawn

    return [fixed(step) for step in range(count)]
