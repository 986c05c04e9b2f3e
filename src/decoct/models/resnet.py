"""ResNet (He et al. 2016) of basic blocks, with the 3x3 stem for small images.

Modules have torchvision's names, so that published checkpoints load.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from decoct.models.network import Network


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """B x inputs x H x W to B x outputs x H/stride x W/stride."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNetBody(nn.Module):
    """Stem, four stages of basic blocks, global average pool: B x C x H x W to B x 8 width."""

    def __init__(
        self, *, channels: int, width: int, blocks: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, *(width << i for i in range(4))]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            stage(widths[i], widths[i + 1], blocks[i], strides[i]) for i in range(4)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W to B x 8 width."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks in a row, of which the first changes the number of channels and the size."""
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


def resnet(
    *,
    channels: int = 3,
    outputs: int,
    width: int = 64,
    blocks: Sequence[int] = (2, 2, 2, 2),
    strides: Sequence[int] = (1, 2, 2, 2),
) -> Network:
    """A ResNet of basic blocks: 3x3 stride-1 stem without max-pool, global average pool.

    `blocks` (1, 1, 1, 1) is ResNet-10, (2, 2, 2, 2) is ResNet-18.

    >>> resnet(outputs=10).feature_count
    512
    """
    body = ResNetBody(channels=channels, width=width, blocks=blocks, strides=strides)
    return Network(body, features=8 * width, outputs=outputs)
