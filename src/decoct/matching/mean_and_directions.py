"""Bases of a pool: its mean, then its principal directions; and the pool's coefficients of them."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from decoct.core.principal import principal_directions
from decoct.core.shapes import Pictures, Rows
from decoct.data.images import Images
from decoct.data.stream import stream

_AT_ONCE = 1024  # images at a time
Bases = Float[Tensor, "basis feature"]


def pool_bases(parts: Iterable[Tensor], count: int) -> Float[Tensor, "{count} feature"]:
    """The mean of all rows and their first `count` - 1 principal directions: float32, count x F.

    `parts` are the rows in parts, B x F, so that they need not fit in memory.

    >>> rows = torch.tensor([[1.0, 0.0], [1.0, 4.0]])
    >>> pool_bases([rows], 2)
    tensor([[1., 2.],
            [0., 1.]])
    """
    total, moments, number = torch.zeros(()), torch.zeros(()), 0
    for part in parts:
        rows = part.double()
        total, moments, number = total + rows.sum(0), moments + rows.T @ rows, number + len(rows)
    mean = total / number
    scatter = moments - number * torch.outer(mean, mean)
    return torch.cat([mean[None], principal_directions(scatter, count - 1).T]).float()


def coefficients_of(rows: Rows, bases: Bases) -> Float[Tensor, "image basis"]:
    """B x F rows in terms of what `pool_bases` returned: 1 for the mean, then projections.

    >>> coefficients_of(torch.tensor([[1.0, 5.0]]), torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    tensor([[1., 3.]])
    """
    mean, directions = bases[:1], bases[1:]
    projected = (rows - mean) @ directions.T
    return torch.cat([torch.ones_like(rows[:, :1]), projected], 1)


def shrunk(images: Pictures, size: int) -> Float[Tensor, "image channel {size} {size}"]:
    """Images of fewer pixels, each the mean of those that it covers, roughly.

    >>> shrunk(torch.ones(1, 3, 8, 8), 4).unique()
    tensor([1.])
    """
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def shrunk_pool(images: Images, size: int) -> Iterable[Rows]:
    """All normalised images of a pool, shrunk, in parts: B x (channels size size)."""
    batches = torch.arange(len(images)).split(_AT_ONCE)
    for _, part in stream(images, batches, device="cpu"):
        yield shrunk(part, size).flatten(1)
