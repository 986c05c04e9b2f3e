"""ResNet (He et al. 2016) of basic blocks, with the 3x3 stem that small images need."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from decoct.models.network import Network


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """B x inputs x H x W to B x outputs x H/stride x W/stride."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


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
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    inputs = width
    for i, (count, stride) in enumerate(zip(blocks, strides, strict=True)):
        for j in range(count):
            layers.append(BasicBlock(inputs, width << i, stride if j == 0 else 1))
            inputs = width << i
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    _initialise(body)
    return Network(body, features=inputs, outputs=outputs)


def _initialise(body: nn.Module) -> None:
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
