"""MKDT: match the trajectories of students trained by knowledge distillation (section 5).

Images, targets and learning rate are learnt so that a student that starts at an expert's epoch s
and trains on them for T steps ends where the expert was at epoch s + expert_epochs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.provenance import versions
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core.compilation import pays
from decoct.core.device import arithmetic
from decoct.core.place import Place
from decoct.core.shapes import Index
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.cuda_graph import Match, as_cuda_graph
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.loop import MatchingConfig, count_tapes, learnt, match_trajectories
from decoct.matching.unroll import matching_gradient
from decoct.methods.axis import Axis, one_of, scaled
from decoct.methods.inputs import Inputs, images_of
from decoct.methods.matched import Matched
from decoct.methods.sizes import Sizes
from decoct.methods.units import Action, Bench, Unit, gradient_step
from decoct.models.registry import NetworkConfig, create_network

_PASSES = 11  # convolutions per layer that an inner step takes, forward and backward


@dataclass(frozen=True)
class MKDT(Matched):
    """The published method."""

    name: ClassVar[str] = "mkdt"
    summary: ClassVar[str] = "images and targets learnt by matching trajectories of distillation"
    paper: ClassVar[str] = "Joshi, Ni & Mirzasoleiman, ICLR 2025"
    proposed: ClassVar[bool] = True
    section: ClassVar[str] = "mkdt"

    init: str = "high-loss"  # the method whose images it starts from

    def needs(self) -> tuple[str, ...]:
        """The experts, and the images to start from."""
        return ("images", "targets", "experts", images_of(self.init))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """Learn images and targets, starting from the images of `init` and their targets."""
        return mkdt(
            images=inputs.images,
            targets=inputs.targets,
            trajectories=inputs.trajectories,
            index=inputs.images_of(self.init),
            config=self.matching,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """Inner steps forward and backward, and those of the search for the first rate."""
        steps, searched = self.inner_images(sizes)
        forward = gradient_step(sizes.student, self.matching.batch)
        return {matching_step(sizes.student, self.matching): steps, forward: searched}

    def axes(self) -> tuple[Axis, ...]:
        """What the paper varies, and more."""
        return (
            Axis(
                "init",
                "the real images that it starts from",
                "mkdt.init",
                one_of("random", "high-loss"),
            ),
            Axis(
                "targets",
                "whether the targets are learnt too",
                "matching.lr_targets",
                one_of("learnt", "fixed"),
                learnt=True,
            ),
            Axis(
                "lr",
                "whether the inner learning rate is learnt too",
                "matching.lr_log_lr",
                one_of("learnt", "fixed"),
                learnt=True,
            ),
            Axis("experts", "the number of experts", "experts.count", one_of(1, 3, 8, 20)),
            Axis(
                "max-start-epoch",
                "how many of an expert's epochs matching may start from",
                "matching.max_start_epoch",
                one_of(1, 2, 4),
            ),
            Axis(
                "expert-epochs",
                "how many of an expert's epochs are matched at once",
                "matching.expert_epochs",
                one_of(1, 2, 3),
            ),
            Axis("steps", "steps of the inner loop", "matching.inner_steps", scaled(0.5, 1, 2)),
            Axis("iterations", "how long matching runs", "matching.iterations", scaled(0.5, 1, 2)),
        )


def mkdt(
    *,
    images: Images,
    targets: Targets,
    trajectories: Trajectories,
    index: Index,
    config: MatchingConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `index` (int64, m) and their targets.

    `state` is the checkpoint's path; if one exists, distillation resumes from it, bit-identically.
    If the loss becomes non-finite, it stops with the last good state. Raises `DecoctError` if the
    trajectories are too short, or the very first loss is not finite.
    """
    config, device = config or MatchingConfig(), torch.device(device)
    real = images.subset(index).to(device).normalised()
    network = create_network(
        trajectories.network,
        channels=images.channels,
        size=images.size,
        outputs=targets.dimensions,
    ).to(device)
    with arithmetic(config.precision) as dtype:
        gradient = ConvNetGradient(network, dtype=dtype)
        inner = _inner_gradient(gradient, real, config)
        match: Match = partial(
            matching_gradient,
            inner,
            momentum=config.inner_momentum,
            kept_tapes=count_tapes(gradient, config, max(1, len(real)), images.size),
        )
        if config.cuda_graphs and device.type == "cuda":
            match = as_cuda_graph(match)
        found = match_trajectories(
            lambda *_: match,
            inner,
            images=real,
            targets=targets.values[index].to(device),
            trajectories=trajectories,
            config=config,
            seed=seed,
            label="MKDT",
            state=state,
            metrics=metrics,
        )
    provenance = {"config": asdict(config), "seed": seed, "images": images.name, **versions()}
    return DistilledSet(
        **learnt(found, config),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        method=MKDT.name,
        initial=real.cpu(),
        index=index,
        network=trajectories.network,
        provenance=provenance,
    )


def _inner_gradient(
    gradient: ConvNetGradient, images: Tensor, config: MatchingConfig
) -> InnerGradient:
    """Compiled if that pays off."""
    batch, size = min(config.batch, len(images)), images.shape[-1]
    steps = config.iterations * config.experts_per_step * config.inner_steps
    work = _PASSES * sum(gradient.multiply_adds(batch, size)) * steps
    inner = InnerGradient.by_hand(gradient)
    worth = pays(config.compile, multiply_adds=work, device=images.device)
    return inner.compiled() if worth else inner


def matching_step(student: NetworkConfig, config: MatchingConfig) -> Unit:
    """An image in one step of the inner loop, forward and backward."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        network = bench.network(student, bench.sizes.dimensions)
        start = parameters_to_vector(network.parameters()).detach()
        x, y = bench.batch(config.batch)
        batches = [torch.arange(len(x), device=bench.device)] * 2
        gradient = ConvNetGradient(network)
        kept = count_tapes(gradient, config, bench.sizes.count, x.shape[-1]) / config.inner_steps
        action = partial(
            matching_gradient,
            InnerGradient.by_hand(gradient),
            start=start,
            goal=start + 0.01,
            images=x,
            targets=y,
            lr=torch.tensor(0.1, device=bench.device),
            batches=batches,
            kept_tapes=round(kept * len(batches)),
        )
        return action, 2 * len(x)

    return Unit("matching step", (student, config), prepare)
