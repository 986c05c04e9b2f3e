"""MTT-SSL: match the trajectories of students that train with the self-supervised loss itself.

This is MKDT's naive baseline (section 4): the inner loop uses the loss on augmented views of the
synthetic images, and there are no targets. The rest is as in MKDT, for a fair comparison.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.provenance import versions
from decoct.artefacts.trajectories import Trajectories
from decoct.core import seeding
from decoct.core.device import arithmetic
from decoct.core.place import Place
from decoct.core.settings import CountOrNone, Positive
from decoct.core.shapes import Index
from decoct.data.images import Images
from decoct.matching.cuda_graph import Match
from decoct.matching.inner_gradient import FlatLoss, InnerGradient, flat_network
from decoct.matching.loop import MatchingConfig, learnt, match_trajectories
from decoct.matching.unroll import matching_gradient
from decoct.methods.inputs import Inputs
from decoct.methods.matched import Matched
from decoct.methods.random import random_rows
from decoct.methods.sizes import Sizes
from decoct.methods.units import Action, Bench, Unit
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.expert import ExpertsConfig, Gradient
from decoct.training.experts import train_experts_by
from decoct.training.objective import Objective, view_loss
from decoct.training.pretrain import PretrainConfig
from decoct.training.ssl_pretrain import check_self_supervision

SWEEP = 4  # time of a step of the sweep by autograd, in gradients


@dataclass(frozen=True)
class MTTSSL(Matched):
    """The settings of this method alone; the rest of matching is in the recipe's `matching`.

    Unless `matching.inner_lr` gives the first inner rate, the search for it starts at `lr` / 5.
    """

    name: ClassVar[str] = "mtt-ssl"
    summary: ClassVar[str] = "images learnt by matching trajectories of the self-supervised loss"
    paper: ClassVar[str] = "Joshi, Ni & Mirzasoleiman, ICLR 2025, section 4: the naive baseline"
    section: ClassVar[str] = "mtt_ssl"

    objective: Objective = field(default_factory=Objective)
    lr: Positive = 0.03  # of its experts; their other settings are in the recipe's `experts`
    iterations: CountOrNone = 0  # of matching; 0: as in `matching`

    def needs(self) -> tuple[str, ...]:
        """The images, and experts that train without targets."""
        return ("images", "ssl-experts")

    @property
    def config(self) -> MatchingConfig:
        """Its matching settings."""
        return replace(self.matching, iterations=self.iterations or self.matching.iterations)

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """Learn images, starting from random ones."""
        return mtt_ssl(
            images=inputs.images,
            trajectories=inputs.ssl_trajectories,
            index=random_rows(inputs),
            objective=self.objective,
            lr=self.lr,
            matching=self.config,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    def bytes_an_image(self, sizes: Sizes) -> float:
        """The pixels only: there are no targets."""
        return super().bytes_an_image(replace(sizes, dimensions=0))

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """Sweeps of inner steps; the search runs forward only."""
        steps, searched = replace(self, matching=self.config).inner_images(sizes)
        return {ssl_matching_step(sizes.student, self.objective): steps + searched / SWEEP}

    def pretraining_work(self, sizes: Sizes, pretraining: PretrainConfig) -> Mapping[Unit, float]:
        """Two augmented views of each image."""
        found = super().pretraining_work(sizes, pretraining)
        return {unit: 2 * images for unit, images in found.items()}

    def check(self, sizes: Sizes) -> None:
        """There must be at least two images."""
        check_self_supervision(sizes.count)


def train_ssl_experts(
    *,
    images: Images,
    folder: Path | str,
    objective: Objective | None = None,
    lr: float = 0.03,
    experts: ExpertsConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
) -> Trajectories:
    """As `train_experts`, but with the self-supervised loss on new random views at each step.

    In float32 or tf32, and never compiled: the gradient comes from autograd.
    """
    objective, experts = objective or Objective(), experts or ExpertsConfig()

    def make(network: Network, images: Images, *_: object) -> Gradient:
        loss = flat_loss(network, images, objective)
        return InnerGradient.by_autograd(loss).gradient

    return train_experts_by(
        make,
        images=images,
        values=torch.zeros(len(images), 0),
        folder=folder,
        seed=seed,
        outputs=objective.projector,
        config=replace(experts, lr=lr),
        device=device,
        state=state,
    )


def mtt_ssl(
    *,
    images: Images,
    trajectories: Trajectories,
    index: Index,
    objective: Objective | None = None,
    lr: float = 0.03,
    matching: MatchingConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `index` (int64, m) without targets: the set's targets are m x 0.

    `trajectories` are from `train_ssl_experts` with the same `objective` and `lr`; `matching` is as
    in `mkdt`, but `compile`, `cuda_graphs` and `memory` have no effect. The random draws of an
    inner step depend only on seed, iteration and step, so forward and backward see the same views.
    Checkpoints, non-finite losses and errors are handled as in `mkdt`.
    """
    objective, matching = objective or Objective(), matching or MatchingConfig()
    device = torch.device(device)
    real = images.subset(index).to(device).normalised()
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

    with arithmetic(matching.precision):
        found = match_trajectories(
            match_at,
            steps("rate"),
            images=real,
            targets=real.new_zeros(len(index), 0),
            trajectories=trajectories,
            config=matching,
            seed=seed,
            label="MTT-SSL",
            first_lr=lr / 5,
            state=state,
            metrics=metrics,
        )
    provenance = {"matching": asdict(matching), "lr": lr, "seed": seed}
    provenance |= {"objective": asdict(objective), "images": images.name, **versions()}
    return DistilledSet(
        **learnt(found, matching),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        method=MTTSSL.name,
        initial=real.cpu(),
        index=index,
        network=trajectories.network,
        provenance=provenance,
    )


def flat_loss(network: Network, images: Images, objective: Objective) -> FlatLoss:
    """The loss as a function of parameters and of images normalised as `images`; no targets."""
    forward, device = flat_network(network), next(network.parameters()).device
    mean, std = images.mean.to(device), images.std.to(device)
    loss = view_loss(objective, mean=mean, std=std, size=images.size)

    def flat(theta: Tensor, pictures: Tensor, _: Tensor) -> Tensor:
        return loss(partial(forward, theta), pictures)

    return flat


def step_losses(
    loss: FlatLoss, *, count: int, seed: int, at: tuple[int | str, ...]
) -> list[FlatLoss]:
    """A loss that draws from torch's global generator, with fixed draws for each of T steps.

    The draws depend on seed, place (`at`) and step, however often a step is computed.

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


def ssl_matching_step(student: NetworkConfig, objective: Objective) -> Unit:
    """An image in one step of the inner loop, forward and backward."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        network = bench.network(student, objective.projector)
        start = parameters_to_vector(network.parameters()).detach()
        x = bench.batch(256)[0]
        action = partial(
            matching_gradient,
            InnerGradient.by_autograd(flat_loss(network, bench.images(2), objective)),
            start=start,
            goal=start + 0.01,
            images=x,
            targets=x.new_zeros(len(x), 0),
            lr=torch.tensor(0.01, device=bench.device),
            batches=[torch.arange(len(x), device=bench.device)],
        )
        return action, len(x)

    return Unit("self-supervised matching step", (student, objective), prepare)
