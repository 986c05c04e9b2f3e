"""SAS: the images most similar to the rest of their latent class.

Joshi & Mirzasoleiman, Data-Efficient Contrastive Self-supervised Learning (ICML 2023).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.methods.candidates import BLOCK, candidates
from decoct.methods.k_means import cluster_centres


@dataclass(frozen=True)
class SASConfig:
    """How a SAS subset is chosen."""

    classes: int = 10  # latent, by k-means on the targets: about as many as the pool has
    penalty: bool = True  # for what is chosen already; False: none, as in the released code

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise DecoctError(f"sas.classes is {self.classes}; at least 1 is needed")


def sas_subset(
    *,
    targets: Targets,
    count: int,
    seed: int,
    config: SASConfig | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Choose greedily in each latent class, in proportion to its size: int64, sorted.

    The similarity of two images is their targets' cosine, at least 0. An image's score is its
    similarity to its whole class, less twice that to what is chosen already. The paper takes
    int(fraction x size) of each class; here the largest remainders make that up to `count`, so
    that methods are compared at one size. Raises `DecoctError` where there are fewer images.

    >>> from decoct.artefacts.targets import TargetsConfig, fit_targets
    >>> pool = fit_targets(torch.randn(20, 3), TargetsConfig())
    >>> len(sas_subset(targets=pool, count=7, seed=0, config=SASConfig(classes=2)).unique())
    7
    """
    config = config or SASConfig()
    values = candidates(targets, count=count, device=device)
    draws = seeding.derive(seed, "subset", "sas")
    centres = cluster_centres(values, count=min(config.classes, len(values)), seed=draws)
    labels, unit = torch.cdist(values, centres).argmin(1), F.normalize(values)
    chosen = []
    for label, share in enumerate(shares(labels.bincount(minlength=len(centres)).tolist(), count)):
        if share:
            members = (labels == label).nonzero()[:, 0]
            chosen.append(members[_choose(unit[members], share, penalty=config.penalty)])
    return torch.cat(chosen).sort().values.cpu()


def shares(sizes: list[int], count: int) -> list[int]:
    """`count` divided in proportion to `sizes`: rounded down, the largest remainders up.

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
