"""The interface of every network: flattened features, and a head that training uses."""

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A body that maps normalised images to B x F features, and a head (initially linear)."""

    head: nn.Module

    def __init__(self, body: nn.Module, *, features: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.feature_count = features
        self.head = nn.Linear(features, outputs)
        # Channels-last makes batch norm 1.1 to 1.4 times faster on a CPU, but group norm slower.
        self.channels_last = any(isinstance(module, nn.BatchNorm2d) for module in body.modules())

    def features(self, images: Tensor) -> Tensor:
        """B x C x H x W to B x F: the body's output, without the head."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        features: Tensor = self.body(images.contiguous(memory_format=layout))
        return features

    def remove_head(self) -> None:
        """Turn it into an encoder: from now on the output is the features."""
        self.head = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """B x C x H x W to B x outputs."""
        output: Tensor = self.head(self.features(images))
        return output
