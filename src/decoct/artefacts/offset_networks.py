"""Small networks that say how the target of an image changes when the image is turned.

Yu et al. ("Boost-SSDD", ICLR 2025, arXiv 2507.21455) approximate the targets of augmented images,
so that a set need not store them.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class OffsetNetworks:
    """A two-layer network for each of A views: V numbers, a ReLU layer of K, V numbers."""

    weights_in: Float[Tensor, "view hidden number"]
    biases_in: Float[Tensor, "view hidden"]
    weights_out: Float[Tensor, "view number hidden"]
    biases_out: Float[Tensor, "view number"]

    def __call__(
        self, coefficients: Float[Tensor, "image number"]
    ) -> Float[Tensor, "view image number"]:
        """What each view adds to the coefficients of an image's target: m x V to A x m x V.

        >>> ones = torch.ones(1, 1)
        >>> network = OffsetNetworks(ones[None], -ones, 3 * ones[None], ones)  # 3 relu(x - 1) + 1
        >>> network(torch.tensor([[0.0], [2.0]])).flatten()
        tensor([1., 4.])
        """
        hidden = torch.relu(coefficients @ self.weights_in.mT + self.biases_in[:, None])
        return hidden @ self.weights_out.mT + self.biases_out[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """The weights and biases by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def offset_numbers(width: int, *, hidden: int) -> int:
    """The numbers in one network of `width` inputs and outputs.

    >>> offset_numbers(200, hidden=4)
    1804
    """
    return 2 * width * hidden + hidden + width
