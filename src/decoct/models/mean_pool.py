"""Halve a picture's sides by the mean of every 2 x 2 pixels, as fast as the device allows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoct.core.shapes import Pictures


class MeanPool(nn.Module):
    """`nn.AvgPool2d(2)`, on a CPU by oneDNN's depthwise convolution.

    `benchmarks/pooling.py` compares a training step with either.

    >>> MeanPool()(torch.arange(4.0).view(1, 1, 2, 2)).item()
    1.5
    """

    def forward(self, x: Pictures) -> Pictures:
        """B x C x H x W to B x C x H/2 x W/2; a last row or column without a partner is left."""
        if _has_fast_convolution(x):
            channels = x.shape[1]
            return F.conv2d(x, x.new_full((channels, 1, 2, 2), 0.25), stride=2, groups=channels)
        return F.avg_pool2d(x, 2)


def _has_fast_convolution(x: Tensor) -> bool:
    """Whether oneDNN takes the convolution; a compiler or an exporter has ways of its own."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    on_cpu = x.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return on_cpu and x.dtype == torch.float32 and not (tracing or torch.compiler.is_compiling())
