"""Networks by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from decoct.core.errors import DecoctError
from decoct.core.settings import Bounds, Settings, WidthOrNone
from decoct.models.convnet import convnet
from decoct.models.convnet_bn import convnet_bn
from decoct.models.network import Network
from decoct.models.resnet import resnet


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """The architecture and its size.

    Names: `convnet`, `convnet-bn`, `resnet10`, `resnet18`, `resnet10-small` or `timm:NAME`.
    """

    section: ClassVar[str] = "network"

    name: str = "convnet"  # or convnet-bn, resnet10, resnet18, resnet10-small, timm:NAME
    width: WidthOrNone = 0  # channels of the first layer; 0: the architecture's default
    # blocks of either ConvNet; ignored by others
    depth: Annotated[int, Bounds(at_least=1, at_most=12)] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in _BUILDERS and not self.name.startswith("timm:"):
            known = ", ".join(_BUILDERS)
            raise DecoctError(f"network {self.name!r} is unknown; use {known} or timm:NAME")


def create_network(config: NetworkConfig, *, channels: int, size: int, outputs: int) -> Network:
    """A freshly initialised network; draws from torch's global generator.

    >>> net = create_network(NetworkConfig(width=8), channels=3, size=32, outputs=4)
    >>> net.feature_count
    128
    """
    if config.name.startswith("timm:"):
        from decoct.models.timm_network import timm_network

        name = config.name.partition(":")[2]
        return timm_network(name, channels=channels, outputs=outputs, size=size)
    return _BUILDERS[config.name](config, channels, size, outputs)


def _convnet(config: NetworkConfig, channels: int, size: int, outputs: int) -> Network:
    return convnet(
        channels=channels, size=size, outputs=outputs, width=config.width or 128, depth=config.depth
    )


def _convnet_bn(config: NetworkConfig, channels: int, size: int, outputs: int) -> Network:
    return convnet_bn(
        channels=channels, size=size, outputs=outputs, width=config.width or 128, depth=config.depth
    )


def _resnet10(config: NetworkConfig, channels: int, size: int, outputs: int) -> Network:
    blocks = (1, 1, 1, 1)
    return resnet(channels=channels, outputs=outputs, width=config.width or 64, blocks=blocks)


def _resnet18(config: NetworkConfig, channels: int, size: int, outputs: int) -> Network:
    return resnet(channels=channels, outputs=outputs, width=config.width or 64)


def _resnet10_small(config: NetworkConfig, channels: int, size: int, outputs: int) -> Network:
    # Halving before the first block instead of after it is four times cheaper; meant for CPUs.
    return resnet(
        channels=channels,
        outputs=outputs,
        width=config.width or 32,
        blocks=(1, 1, 1, 1),
        strides=(2, 2, 2, 2),
    )


_BUILDERS: dict[str, Callable[[NetworkConfig, int, int, int], Network]] = {
    "convnet": _convnet,
    "resnet10": _resnet10,
    "resnet18": _resnet18,
    "resnet10-small": _resnet10_small,
    "convnet-bn": _convnet_bn,
}
