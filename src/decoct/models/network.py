"""What every network here is: features, flattened, and a head that training uses."""

from torch import Tensor, nn


class Network(nn.Module):
    """A body that maps normalised images to B x F features, and a head (linear, at first)."""

    head: nn.Module

    def __init__(self, body: nn.Module, *, features: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.feature_count = features
        self.head = nn.Linear(features, outputs)

    def features(self, images: Tensor) -> Tensor:
        """B x C x H x W to B x F: what is left when the head is taken off."""
        features: Tensor = self.body(images)
        return features

    def remove_head(self) -> None:
        """Leave an encoder: from now on the output is the features."""
        self.head = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """B x C x H x W to B x outputs."""
        output: Tensor = self.head(self.features(images))
        return output
