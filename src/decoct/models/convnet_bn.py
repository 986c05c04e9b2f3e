"""KRR-ST's ConvNet (Lee et al. 2024): batch norm, and each block doubles the width."""

from torch import nn

from decoct.core.errors import DecoctError
from decoct.models.mean_pool import MeanPool
from decoct.models.network import Network


def convnet_bn(
    *, channels: int = 3, size: int = 32, outputs: int, width: int = 128, depth: int = 3
) -> Network:
    """`depth` blocks of [3x3 convolution, batch norm, ReLU, 2x2 average pool], then linear.

    Block i has width * 2^i channels: 128-256-512 as published for 32 px; for 64 px, width 64 and
    depth 4.

    >>> convnet_bn(outputs=512).feature_count
    8192
    """
    side = size >> depth
    if side < 1:
        raise DecoctError(f"a ConvNet of depth {depth} halves {size} px to nothing; use less depth")
    body = convnet_bn_body(channels=channels, width=width, depth=depth)
    return Network(body, features=(width << depth - 1) * side**2, outputs=outputs)


def convnet_bn_body(*, channels: int, width: int, depth: int) -> nn.Sequential:
    """The blocks: B x C x H x W to B x F."""
    blocks: list[nn.Module] = []
    for i in range(depth):
        blocks += [
            nn.Conv2d(channels, width << i, kernel_size=3, padding=1),
            nn.BatchNorm2d(width << i),
            nn.ReLU(),
            MeanPool(),
        ]
        channels = width << i
    return nn.Sequential(*blocks, nn.Flatten())
