"""ConvNet: the student of the dataset-distillation literature (Gidaris & Komodakis 2018)."""

from torch import nn

from decoct.core.errors import DecoctError
from decoct.models.mean_pool import MeanPool
from decoct.models.network import Network


def convnet(
    *, channels: int = 3, size: int = 32, outputs: int, width: int = 128, depth: int = 3
) -> Network:
    """`depth` blocks of [3x3 convolution, instance norm, ReLU, 2x2 average pool], then linear.

    >>> sum(p.numel() for p in convnet(outputs=512).parameters())
    1348608
    """
    side = size >> depth
    if side < 1:
        raise DecoctError(f"a ConvNet of depth {depth} halves {size} px to nothing; use less depth")
    body = convnet_body(channels=channels, width=width, depth=depth)
    return Network(body, features=width * side**2, outputs=outputs)


def convnet_body(*, channels: int, width: int, depth: int) -> nn.Sequential:
    """The blocks: B x C x H x W to B x F."""
    blocks: list[nn.Module] = []
    for i in range(depth):
        blocks += [
            nn.Conv2d(channels if i == 0 else width, width, kernel_size=3, padding=1),
            nn.GroupNorm(width, width),  # one group per channel: instance norm with affine
            nn.ReLU(),
            MeanPool(),
        ]
    return nn.Sequential(*blocks, nn.Flatten())
