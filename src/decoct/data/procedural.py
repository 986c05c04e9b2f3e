"""Pictures made from a seed alone (Baradad et al. 2021, "Learning to see by looking at noise").

The draws come from torch's CPU generator, so a seed gives the same pictures on every machine.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.core.shapes import Pixels

Kind = Literal["blobs", "dead-leaves", "generator"]
_LEAVES = 64  # in a picture; later ones cover earlier ones
_SCALES = (2, 4, 8, 16)  # cells along a side of the layers of blobs, each half as strong
_WIDTH = 16  # channels of an untrained generator
_A_GENERATOR = 64  # pictures made by the same untrained generator


def procedural_pictures(
    kind: Kind, *, count: int, channels: int = 3, size: int = 32, seed: int = 0
) -> Pixels:
    """Pictures of one kind: uint8, count x C x size x size.

    >>> procedural_pictures("blobs", count=2, size=8).shape
    torch.Size([2, 3, 8, 8])
    """
    draws = torch.Generator().manual_seed(seed)
    values = _KINDS[kind]((count, channels, size, size), draws)
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _blobs(shape: tuple[int, int, int, int], draws: torch.Generator) -> Tensor:
    """Layers of coloured noise from coarse to fine, enlarged smoothly."""
    count, channels, size, _ = shape
    total = torch.zeros(shape)
    for layer, cells in enumerate(s for s in _SCALES if s <= size):
        noise = torch.randn(count, channels, cells, cells, generator=draws)
        total += 0.5**layer * F.interpolate(noise, (size, size), mode="bicubic")
    return 0.5 + 0.25 * total


def _dead_leaves(shape: tuple[int, int, int, int], draws: torch.Generator) -> Tensor:
    """Discs of random places, colours and sizes, each covering those before it."""
    count, channels, size, _ = shape

    def uniform(*sides: int) -> Tensor:
        return torch.rand(*sides, generator=draws)

    across = (torch.arange(size) + 0.5) / size
    picture = uniform(count, channels, 1, 1).expand(shape).clone()
    for _ in range(_LEAVES):
        radius = 0.03 / (1 - 0.97 * uniform(count, 1, 1)).sqrt()  # density falls as radius^-3
        x, y = uniform(count, 1, 1), uniform(count, 1, 1)
        inside = (across - x).square() + (across[:, None] - y).square() < radius.square()
        colour = uniform(count, channels, 1, 1)
        picture = torch.where(inside.unsqueeze(1), colour, picture)
    return picture


def _generator(shape: tuple[int, int, int, int], draws: torch.Generator) -> Tensor:
    """The outputs of untrained convolutional generators, each scaled to the whole range."""
    count, channels, size, _ = shape
    parts = [
        _one_generator((len(rows), channels, size, size), draws)
        for rows in torch.arange(count).split(_A_GENERATOR)
    ]
    return torch.cat(parts)


def _one_generator(shape: tuple[int, int, int, int], draws: torch.Generator) -> Tensor:
    count, channels, size, _ = shape
    x, side = torch.randn(count, _WIDTH, 4, 4, generator=draws), 4
    while side < size:
        side = min(2 * side, size)
        x = F.interpolate(x, (side, side), mode="bilinear")
        weight = torch.randn(_WIDTH, _WIDTH, 3, 3, generator=draws) / (9 * _WIDTH) ** 0.5
        style = torch.randn(count, _WIDTH, 1, 1, generator=draws)
        x = F.leaky_relu(F.conv2d(x, weight, padding=1), 0.2)
        x = style * F.instance_norm(x)
    x = torch.einsum("bchw,oc->bohw", x, torch.randn(channels, _WIDTH, generator=draws))
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low).clamp_min(1e-6)


_KINDS: dict[str, Callable[[tuple[int, int, int, int], torch.Generator], Tensor]] = {
    "blobs": _blobs,
    "dead-leaves": _dead_leaves,
    "generator": _generator,
}
