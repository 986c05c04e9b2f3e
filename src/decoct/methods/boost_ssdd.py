"""Boost-SSDD: images and targets from a few learnt bases, so that more of them fit in the bytes.

Yu et al., "Boost self-supervised dataset distillation via parameterization, predefined augmentation
and approximation", ICLR 2025, arXiv 2507.21455. Bases and coefficients are learnt as KRR-ST learns
images; every image comes in four views, turned by right angles.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from decoct.artefacts.codes import Coded
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.factored import TURNS, Factored, FactoredShape, turned
from decoct.artefacts.provenance import versions
from decoct.artefacts.targets import Targets
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.core.seeding import random_subset
from decoct.core.settings import Count, CountOrNone, NonNegative, Pixels, Positive, Width
from decoct.data.images import Images
from decoct.data.stream import stream_pixels
from decoct.methods.axis import Axis, one_of, scaled
from decoct.methods.factors import Factors, Turned, coefficients, starting_point
from decoct.methods.inputs import Inputs
from decoct.methods.labels import Label, Labels, labeller, needed_by
from decoct.methods.method import FLOAT
from decoct.methods.regressed import Regressed
from decoct.methods.regression_loop import learn
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit, training_step
from decoct.training.offset_networks import fit_offsets
from decoct.training.pretrain import PretrainConfig

_AT_ONCE = 1024  # images at a time
_KERNELS = 5 * 8  # bytes an entry: the kernel, its root and their gradients, in float64


@dataclass(frozen=True)
class BoostSSDD(Regressed):
    """How a set is distilled; the defaults are the published ones for 32 px.

    They were read off a reimplementation, since the paper does not give all. The set has as many
    images as fit in the bytes of a plain set of `size` images, but no more than the pool.

    On a CPU the defaults take weeks; `support` makes an iteration cheaper.
    """

    name: ClassVar[str] = "boost-ssdd"
    summary: ClassVar[str] = "images and targets from learnt bases, by kernel ridge regression"
    paper: ClassVar[str] = "Yu et al., ICLR 2025"
    section: ClassVar[str] = "boost_ssdd"

    iterations: Count = 30_000  # steps on the bases
    batch: Count = 512  # real images per iteration
    lr: Positive = 1e-3  # of AdamW, for what is learnt, decaying linearly to 0
    network_weight_decay: NonNegative = 1e-4  # of SGD
    image_bases: Count = 200  # U, the mean included; no more than span all small images
    target_bases: Count = 200  # V, the mean included; no more than span all targets
    base_size: Pixels = 16  # pixels of a basis of images; no more than an image has
    labels: Labels = "assistant"  # who labels turned images
    support: CountOrNone = 0  # images in a regression, views in a network's step; 0: all
    offset_hidden: Width = 4  # units of the networks that predict turned images' targets
    offset_epochs: Count = 500  # of those networks
    offset_lr: Positive = 1e-2  # of those networks

    def needs(self) -> tuple[str, ...]:
        """The labeller of turned images."""
        return ("images", "targets", *needed_by(self.labels))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """Learn bases and coefficients, starting from the pool's."""
        return boost_ssdd(
            images=inputs.images,
            targets=inputs.targets,
            label=labeller(self.labels, inputs, place),
            count=inputs.count,
            config=self,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    def shape(self, sizes: Sizes) -> FactoredShape:
        """How large bases and coefficients are for images and targets of some size."""
        small = sizes.channels * self.small(sizes.size) ** 2
        return FactoredShape(
            pixels=sizes.pixels,
            dimensions=sizes.dimensions,
            small_pixels=small,
            image_bases=min(self.image_bases, small + 1),
            target_bases=min(self.target_bases, sizes.dimensions + 1),
            hidden=self.offset_hidden,
        )

    def small(self, size: int) -> int:
        """Pixels of a basis for images of `size` pixels."""
        return min(self.base_size, size)

    def images(self, sizes: Sizes) -> int:
        """m; raises `DecoctError` if there are no bytes left for an image."""
        found = self.shape(sizes).affordable(sizes.count)
        if found < 1:
            raise DecoctError(
                f"the bases of boost-ssdd alone take more bytes than {sizes.count} plain images; "
                "lower boost_ssdd.image_bases or boost_ssdd.base_size, or ask for a larger set"
            )
        return min(found, sizes.images)

    def images_in(self, budget: int, sizes: Sizes) -> int:
        """The plain images whose bytes it takes; raises `DecoctError` if they are too few."""
        count = super().images_in(budget, sizes)
        self.images(replace(sizes, count=count))
        return count

    def check(self, sizes: Sizes) -> None:
        """There must be bytes for an image."""
        self.images(sizes)

    def seen(self, sizes: Sizes) -> int:
        """The views of its images."""
        return TURNS * self.images(sizes)

    def facts(self, sizes: Sizes, pretraining: PretrainConfig) -> dict[str, Any]:
        """Its own number of images, and the bytes of bases, coefficients and networks."""
        shape, m = self.shape(sizes), self.images(sizes)
        own = {"images": m, "bytes": FLOAT * (shape.shared + m * shape.each)}
        return super().facts(sizes, pretraining) | own

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """A regression in one view, and a network's step on all views, at every iteration."""
        m, views = self.images(sizes), self.seen(sizes)
        regressed, trained = (min(self.support or n, n) for n in (m, views))
        images = self.work_on(sizes, regressed=regressed, trained=trained)
        return {training_step(self.network, trained): images}

    def memory(self, sizes: Sizes) -> Mapping[str, int]:
        """The networks and a step on the views, the kernel, and turned images' targets."""
        m, views = self.images(sizes), self.seen(sizes)
        regressed, trained = (min(self.support or n, n) for n in (m, views))
        return {
            **self.memory_on(sizes, images=trained),
            f"kernels of {self.name}": _KERNELS * regressed**2,
            "targets of turned images": FLOAT * TURNS * sizes.images * sizes.dimensions,
        }

    def axes(self) -> tuple[Axis, ...]:
        """The settings that an ablation may vary."""
        return (
            Axis("bases", "how many bases of images", "boost_ssdd.image_bases", scaled(0.5, 1, 2)),
            Axis(
                "labels",
                "who labels turned images",
                "boost_ssdd.labels",
                one_of("assistant", "image"),
            ),
            Axis("iterations", "how long it learns", "boost_ssdd.iterations", scaled(0.5, 1, 2)),
        )


def boost_ssdd(
    *,
    images: Images,
    targets: Targets,
    label: Label,
    count: int,
    config: BoostSSDD | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil a set that takes no more bytes than `count` plain images with float32 targets.

    `label` labels turned images. The published outer loss sees upright images only, so that the
    coefficients of turned images' targets get no gradient; here each iteration draws a view, turns
    the synthetic images and the real batch alike, and predicts the real batch's labels in it.

    `state` is the checkpoint's path; if one exists, distillation resumes from it, bit-identically.
    If the loss becomes non-finite, it stops with the last good state. Raises `DecoctError` if there
    are no bytes for an image or too few targets, a network diverges, or the very first loss is not
    finite.
    """
    config, device = config or BoostSSDD(), torch.device(device)
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    sizes = Sizes(
        pool=len(images),
        images=len(images),
        count=count,
        channels=images.channels,
        size=images.size,
        dimensions=targets.dimensions,
    )
    index = random_subset(total=len(images), count=config.images(sizes), seed=seed)
    goals = turned_targets(images, targets, label, device=device)
    start = starting_point(
        images, goals, index, shape=config.shape(sizes), small=config.small(images.size)
    )
    factors = Factors(
        {name: values.to(device) for name, values in start.items()},
        goals,
        size=images.size,
        ridge=config.ridge,
        support=config.support,
        stage=config.name,
        seed=seed,
    )
    losses = learn(
        factors,
        images=images,
        dimensions=targets.dimensions,
        config=config,
        seed=seed,
        device=device,
        state=state,
        metrics=metrics,
    )
    found = _factored(factors, config, seed)
    decoded, values = found.decode()
    return DistilledSet(
        images=decoded,
        targets=values,
        coded={
            "images": Coded("factored-images", found.image_tensors()),
            "targets": Coded("factored-targets", found.target_tensors()),
        },
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        rule=config.rule,
        method=BoostSSDD.name,
        network=config.network,
        history={"loss": losses},
        provenance={"config": asdict(config), "seed": seed, "images": images.name, **versions()},
    )


@torch.no_grad()
def turned_targets(
    images: Images, targets: Targets, label: Label, *, device: torch.device | str
) -> Turned:
    """The targets of all images, and labels of the images turned once, twice and three times."""
    batches = torch.arange(len(images)).split(_AT_ONCE)
    found = [[targets.values.to(device)]] + [[] for _ in range(TURNS - 1)]
    for rows, pixels in stream_pixels(images, batches, device=device):
        for turns in range(1, TURNS):
            view = turned(pixels.float() / 255, turns)
            found[turns].append(label(view, rows.cpu()).to(device))
    return torch.stack([torch.cat(parts) for parts in found])


def _factored(factors: Factors, config: BoostSSDD, seed: int) -> Factored:
    """What is kept: networks take the place of turned images' coefficients. On the CPU."""
    learnt = {name: variable.cpu() for name, variable in factors.variables.items()}
    own, *others = (learnt[coefficients(turns)] for turns in range(TURNS))
    offsets = fit_offsets(
        own,
        torch.stack(others) - own,
        hidden=config.offset_hidden,
        epochs=config.offset_epochs,
        lr=config.offset_lr,
        seed=seed,
    )
    return Factored(
        image_bases=learnt["image_bases"],
        image_coefficients=learnt["image_coefficients"],
        target_bases=learnt["target_bases"],
        target_coefficients=own,
        offsets=offsets,
        size=factors.size,
    )
