"""Greedy k-center: choose images so that every image of the pool is close to one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.place import Place
from decoct.core.shapes import Index
from decoct.methods.inputs import Inputs
from decoct.methods.real_images import RealImages, candidates, choosing
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit


def k_center_subset(
    *, targets: Targets, count: int, seed: int, device: torch.device | str = "cpu"
) -> Index:
    """Choose `count` times the image whose target is farthest from those chosen: int64, sorted.

    The largest distance is at most twice that of the best choice (Gonzalez 1985; used for training
    data by Sener & Savarese 2018). The first image is random, so that seeds differ and the interval
    over them is meaningful. Raises `DecoctError` if there are fewer than `count` images.

    >>> from decoct.artefacts.targets import TargetsConfig, fit_targets
    >>> far = fit_targets(torch.tensor([[0.0], [0.1], [0.2], [9.0]]), TargetsConfig())
    >>> int(k_center_subset(targets=far, count=2, seed=0)[-1])
    3
    """
    values = candidates(targets, count=count, device=device)
    draws = seeding.generator(seed, "subset", "k-center")
    chosen = [torch.randint(len(values), (1,), generator=draws).to(device)]
    distance = torch.full_like(values[:, 0], torch.inf)  # to the nearest chosen image
    reduced = _reduced_squares(values)
    while len(chosen) < count:
        latest = values[chosen[-1]]
        least = torch.addmv(reduced, values, latest[0], alpha=-2) + reduced[chosen[-1]]
        nearer = (least < distance.square()).nonzero()[:, 0]
        # not by products: rounding would make duplicates look different
        fresh = torch.cdist(values[nearer], latest, compute_mode="donot_use_mm_for_euclid_dist")
        distance[nearer] = torch.minimum(distance[nearer], fresh[:, 0])
        distance[chosen[-1]] = -1  # below a duplicate's 0
        chosen.append(distance.argmax(0, keepdim=True))
    return torch.cat(chosen).sort().values.cpu()


def _reduced_squares(values: Tensor) -> Tensor:
    """|x|^2 less a rounding margin, so that |x|^2 + |y|^2 - 2 x.y is never above |x - y|^2.

    Few images are nearer to a new centre than to an old one. Products are ten times faster than
    differences and rule out most of the others. (Each sum over D is off by at most D roundings; the
    margin covers three such sums and the rounding of the exact distance.)
    """
    margin = 4 * (values.shape[1] + 4) * torch.finfo(values.dtype).eps
    return values.square().sum(1) * (1 - margin)


@dataclass(frozen=True)
class KCenter(RealImages):
    """Greedy farthest-first."""

    name: ClassVar[str] = "k-center"
    summary: ClassVar[str] = "real images, chosen so that none of the pool is far from all of them"
    paper: ClassVar[str] = "Sener & Savarese, ICLR 2018"

    def choose(self, inputs: Inputs, place: Place) -> Tensor:
        """Choose by the targets alone."""
        return k_center_subset(
            targets=inputs.targets, count=inputs.count, seed=inputs.seed, device=place.device
        )

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """Choosing one subset of the pool."""
        return {choosing(self): sizes.images**2}
