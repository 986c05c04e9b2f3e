"""Images as bytes: 256 levels for each channel, between the values that 0 and 255 stand for."""

import torch
from torch import Tensor

from decoct.core.shapes import ByChannel, Pictures, Pixels

_EXACT = 1e-3  # in steps of 255: the float32 rounding error of a byte


def limits_of(images: Pictures, mean: ByChannel, std: ByChannel) -> Tensor:
    """The 2 x C values that bytes 0 and 255 stand for: black and white if the images are real."""
    levels = (images * std.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)) * 255
    real = (levels - levels.round().clamp(0, 255)).abs().max() < _EXACT
    ends = (
        [-mean / std, (1 - mean) / std]
        if real
        else [images.amin((0, 2, 3)), images.amax((0, 2, 3))]
    )
    return torch.stack(ends)


def quantised(images: Pictures, limits: Tensor) -> Pixels:
    """The nearest of the levels, as uint8.

    >>> limits = torch.tensor([[-1.0], [1.0]])
    >>> images = torch.tensor([-1.0, 0.5, 1.0]).view(3, 1, 1, 1)
    >>> quantised(images, limits).flatten().tolist()
    [0, 191, 255]
    >>> (dequantised(quantised(images, limits), limits) - images).abs().max() < 1 / 255
    tensor(True)
    """
    low, high = limits.view(2, 1, -1, 1, 1)
    step = ((high - low) / 255).clamp_min(1e-12)
    steps: Tensor = (images - low) / step
    return steps.round().to(torch.uint8)


def dequantised(pixels: Pixels, limits: Tensor) -> Pictures:
    """What `quantised` made bytes of, to half a level."""
    low, high = limits.view(2, 1, -1, 1, 1)
    values: Tensor = low + pixels.float() * ((high - low) / 255)
    return values
