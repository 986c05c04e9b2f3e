"""SAS: the images most similar to the rest of their latent class.

Joshi & Mirzasoleiman, Data-Efficient Contrastive Self-supervised Learning (ICML 2023).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.place import Place
from decoct.core.settings import Count
from decoct.core.shapes import Index
from decoct.methods.inputs import Inputs
from decoct.methods.k_means import cluster_centres
from decoct.methods.real_images import BLOCK, RealImages, candidates, choosing
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit


def sas_subset(
    *,
    targets: Targets,
    count: int,
    seed: int,
    classes: int = 10,
    penalty: bool = True,
    device: torch.device | str = "cpu",
) -> Index:
    """Choose greedily in each latent class, in proportion to its size: int64, sorted.

    The similarity of two images is the cosine of their targets, at least 0. An image's score is its
    similarity to its whole class, minus twice its similarity to the images already chosen
    (`penalty`; the released code subtracts nothing). The paper takes int(fraction x size) of each
    class; here the largest remainders fill this up to `count`, so that methods are compared at one
    size. Raises `DecoctError` if there are fewer images.

    >>> from decoct.artefacts.targets import TargetsConfig, fit_targets
    >>> pool = fit_targets(torch.randn(20, 3), TargetsConfig())
    >>> len(sas_subset(targets=pool, count=7, seed=0, classes=2).unique())
    7
    """
    values = candidates(targets, count=count, device=device)
    draws = seeding.derive(seed, "subset", "sas")
    centres = cluster_centres(values, count=min(classes, len(values)), seed=draws)
    labels, unit = torch.cdist(values, centres).argmin(1), F.normalize(values)
    chosen = []
    for label, share in enumerate(shares(labels.bincount(minlength=len(centres)).tolist(), count)):
        if share:
            members = (labels == label).nonzero()[:, 0]
            chosen.append(members[_choose(unit[members], share, penalty=penalty)])
    return torch.cat(chosen).sort().values.cpu()


def shares(sizes: list[int], count: int) -> list[int]:
    """Divide `count` in proportion to `sizes`: round down, then round the largest remainders up.

    >>> shares([5, 3, 2], 4)
    [2, 1, 1]
    """
    total = sum(sizes)
    found = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(count * sizes[i] % total))
    for i in by_remainder[: count - sum(found)]:
        found[i] += 1
    return found


def _choose(unit: Tensor, count: int, *, penalty: bool) -> Tensor:
    """The best `count` of a class of n unit vectors (n x D), as indices into it."""
    blocks = unit.split(max(1, BLOCK // len(unit)))
    score = torch.cat([(block @ unit.T).clamp_min_(0).sum(1) for block in blocks])
    if not penalty:
        return score.argsort(descending=True, stable=True)[:count]
    chosen: list[Tensor] = []
    for _ in range(count):
        chosen.append(score.argmax(0, keepdim=True))
        score -= 2 * (unit @ unit[chosen[-1]].T).clamp_min(0)[:, 0]
        score[chosen[-1]] = -torch.inf
    return torch.cat(chosen)


@dataclass(frozen=True)
class SAS(RealImages):
    """How a SAS subset is chosen."""

    name: ClassVar[str] = "sas"
    summary: ClassVar[str] = "the real images most similar to the rest of their latent class"
    paper: ClassVar[str] = "Joshi & Mirzasoleiman, ICML 2023"
    section: ClassVar[str] = "sas"

    classes: Count = 10  # latent, by k-means on the targets: about the true number of classes
    penalty: bool = True  # for similarity to chosen images; False: none, as in the released code

    def choose(self, inputs: Inputs, place: Place) -> Tensor:
        """Choose by the targets alone."""
        return sas_subset(
            targets=inputs.targets,
            count=inputs.count,
            seed=inputs.seed,
            classes=self.classes,
            penalty=self.penalty,
            device=place.device,
        )

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """Choosing one subset of the pool."""
        return {choosing(self): sizes.images**2}
