"""`PlainEncoder`: an encoder as a module of torch alone, and its source code."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decoct.artefacts.encoder import Encoder
from decoct.core.errors import DecoctError
from decoct.models.convnet import convnet_body
from decoct.models.convnet_bn import convnet_bn_body
from decoct.models.resnet import BasicBlock, ResNetBody, stage
from decoct.models.timm_network import timm_arguments


class PlainEncoder(nn.Module):
    """Pictures in, features out; it normalises what it gets."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """N x C x SIZE x SIZE, uint8 or floats from 0 to 1, to N x F."""
        if not pixels.is_floating_point():
            pixels = pixels / 255
        features: Tensor = self.body((pixels - self.mean) / self.std)
        return features


def plain(encoder: Encoder) -> PlainEncoder:
    """An encoder as a module, in eval mode, on the CPU; it shares the weights."""
    body = encoder.network.cpu().body
    return PlainEncoder(body, mean=encoder.mean.tolist(), std=encoder.std.tolist()).eval()


_SOURCE = '''\
"""A {name} that maps pictures of {size} x {size} px to {features} features."""

{imports}

SIZE, CHANNELS, FEATURES = {size}, {channels}, {features}


{definitions}


def encoder() -> PlainEncoder:
    """The network, with weights yet to be loaded."""
    body = {body}
    return PlainEncoder(body, mean={mean}, std={std})
'''


def source_code(encoder: Encoder) -> str:
    """A module whose function `encoder` makes the `PlainEncoder`; it imports torch alone.

    The code is that of the network itself, but for the pooling, which is torch's. A network of
    timm's is made by timm.
    """
    body: Any = encoder.network.body
    parts: tuple[Any, ...] = ()
    imports = ["import torch", "from torch import Tensor, nn"]
    if isinstance(body, ResNetBody):
        parts, call = (BasicBlock, ResNetBody, stage), _resnet_call(body)
        imports.insert(1, "import torch.nn.functional as F")
    elif encoder.config.name.startswith("timm:"):
        imports.insert(0, "import timm")
        call = _timm_call(encoder)
    else:
        make = convnet_bn_body if encoder.config.name == "convnet-bn" else convnet_body
        parts, first = (make,), body[0]
        call = (
            f"{make.__name__}(channels={encoder.channels}, width={first.out_channels}, "
            f"depth={encoder.config.depth})"
        )
    definitions = "\n\n\n".join(inspect.getsource(p).rstrip() for p in (PlainEncoder, *parts))
    return _SOURCE.format(
        name=architecture(encoder),
        size=encoder.size,
        channels=encoder.channels,
        features=encoder.network.feature_count,
        imports="\n".join(["from collections.abc import Sequence", "", *imports]),
        definitions=definitions.replace("MeanPool()", "nn.AvgPool2d(2)"),
        body=call,
        mean=numbers(encoder.mean),
        std=numbers(encoder.std),
    )


def numbers(values: Tensor) -> list[float]:
    """Single-precision numbers with the digits that tell them from all others.

    >>> numbers(torch.tensor([0.1]))
    [0.1]
    """
    return [float(str(value)) for value in values.numpy()]


def _resnet_call(body: ResNetBody) -> str:
    stages: Any = (body.layer1, body.layer2, body.layer3, body.layer4)
    blocks = tuple(len(blocks) for blocks in stages)
    strides = tuple(blocks[0].conv1.stride[0] for blocks in stages)
    first = body.conv1
    return (
        f"ResNetBody(\n        channels={first.in_channels}, width={first.out_channels}, "
        f"blocks={blocks}, strides={strides}\n    )"
    )


def _timm_call(encoder: Encoder) -> str:
    name = encoder.config.name.partition(":")[2]
    found = timm_arguments(name, channels=encoder.channels, size=encoder.size)
    arguments = "".join(f", {key}={value}" for key, value in found.items())
    return f"timm.create_model({architecture(encoder)!r}{arguments})"


def architecture(encoder: Encoder) -> str:
    """The name of the network, as timm calls it if it is timm's.

    It becomes a part of programs. Raises `DecoctError` for what somebody's configuration may say
    in its place.
    """
    body: Any = encoder.network.body
    of_timm = encoder.config.name.startswith("timm:")
    name = str(body.pretrained_cfg["architecture"]) if of_timm else encoder.config.name
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise DecoctError(f"{name!r} is not the name of a network; use --to onnx")
    return name
