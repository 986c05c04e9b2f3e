"""KRR-ST: kernel ridge regression on the synthetic set predicts the targets of real images.

Lee et al., "Self-supervised dataset distillation for transfer learning", ICLR 2024. The features
come from a population of networks that train on the synthetic set; images and targets are learnt.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.provenance import versions
from decoct.artefacts.targets import Targets
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.core.shapes import Index, Pictures, Rows, Scalar
from decoct.data.images import Images
from decoct.matching.kernel_ridge import outer_gradient
from decoct.methods.axis import Axis, one_of, scaled
from decoct.methods.inputs import Inputs, images_of
from decoct.methods.random import Random
from decoct.methods.regressed import Regressed
from decoct.methods.regression_loop import Learnt, Slopes, learn
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit, training_step
from decoct.models.network import Network


@dataclass(frozen=True)
class KRRST(Regressed):
    """How a set is distilled; the defaults are the published ones for CIFAR-100.

    On a CPU those take weeks. A short run needs a higher `lr`, because a pixel moves by at most
    `lr` per iteration: 300 iterations at 0.02, and a population of 4 networks of width 32 and
    lifetime 100.

    Pre-training follows the rule for real images, so that methods differ only in their sets.
    KRR-ST's own evaluation uses ten times the weight decay, chosen for 1,000 epochs.
    """

    name: ClassVar[str] = "krr-st"
    summary: ClassVar[str] = "images and targets learnt by kernel ridge regression"
    paper: ClassVar[str] = "Lee et al., ICLR 2024"
    section: ClassVar[str] = "krr_st"

    def needs(self) -> tuple[str, ...]:
        """The random images that it starts from."""
        return ("images", "targets", images_of(Random.name))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """Learn images and targets, starting from random images."""
        return krr_st(
            images=inputs.images,
            targets=inputs.targets,
            index=inputs.images_of(Random.name),
            config=self,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """A regression on the whole set, and a network's step on it, at every iteration."""
        m = sizes.count
        return {training_step(self.network, m): self.work_on(sizes, regressed=m, trained=m)}

    def memory(self, sizes: Sizes) -> Mapping[str, int]:
        """The networks, and a step on the whole set."""
        return self.memory_on(sizes, images=sizes.count)

    def axes(self) -> tuple[Axis, ...]:
        """The settings that an ablation may vary."""
        return (
            Axis("population", "how many networks", "krr_st.population", one_of(1, 4, 10)),
            Axis("lifetime", "a network's steps", "krr_st.lifetime", scaled(0.5, 1, 2)),
            Axis("iterations", "how long it learns", "krr_st.iterations", scaled(0.5, 1, 2)),
        )


def krr_st(
    *,
    images: Images,
    targets: Targets,
    index: Index,
    config: KRRST | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `index` (int64, m) and their targets.

    Unlike in the paper, real images are not augmented: the teacher would have to embed each crop,
    and there may be no teacher (targets can come from a file). A crop with the whole image's target
    is a wrong pair, so there is no such option.

    `state` is the checkpoint's path; if one exists, distillation resumes from it, bit-identically.
    If the loss becomes non-finite, it stops with the last good state. Raises `DecoctError` if there
    are no images or too few targets, a network diverges, or the very first loss is not finite.
    """
    config, device = config or KRRST(), torch.device(device)
    if len(index) < 1:
        raise DecoctError("a distilled set of 0 images was requested; ask for at least 1")
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    real = images.subset(index).to(device).normalised()
    values = targets.values.to(device)
    learnt = _Set(real, values[index.to(device)], values, ridge=config.ridge)
    losses = learn(
        learnt,
        images=images,
        dimensions=targets.dimensions,
        config=config,
        seed=seed,
        device=device,
        state=state,
        metrics=metrics,
    )
    return DistilledSet(
        images=learnt.images.cpu(),
        targets=learnt.targets.cpu(),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        rule=config.rule,
        method=KRRST.name,
        initial=real.cpu(),
        index=index,
        network=config.network,
        history={"loss": losses},
        provenance={"config": asdict(config), "seed": seed, "images": images.name, **versions()},
    )


class _Set(Learnt):
    """Images and targets, learnt directly; a network trains on all of them."""

    def __init__(self, images: Pictures, targets: Rows, goals: Tensor, *, ridge: float) -> None:
        self.images, self.targets, self.goals = images.clone(), targets.clone(), goals
        self.variables, self.ridge = {"images": self.images, "targets": self.targets}, ridge

    def gradient(
        self, network: Network, real: Pictures, index: Index, *, iteration: int
    ) -> tuple[Scalar, Slopes]:
        loss, images, targets = outer_gradient(
            network,
            self.images,
            self.targets,
            real=real,
            goal=self.goals[index],
            ridge=self.ridge,
        )
        return loss, {"images": images, "targets": targets}

    def training_batch(self, *step: str | int) -> tuple[Pictures, Rows]:
        return self.images, self.targets
