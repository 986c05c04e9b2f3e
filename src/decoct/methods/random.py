"""A seeded random subset."""

import torch
from torch import Tensor

from decoct.core import seeding


def random_subset(*, total: int, count: int, seed: int) -> Tensor:
    """`count` of `total` indices without replacement: int64, sorted.

    >>> len(random_subset(total=10, count=4, seed=0).unique())
    4
    """
    order = torch.randperm(total, generator=seeding.generator(seed, "subset", "random"))
    return order[:count].sort().values
