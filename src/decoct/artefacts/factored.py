"""`Factored`: images and targets as sums of a few bases that they share, and how they turn.

The compact form of Boost-SSDD (Yu et al., ICLR 2025, arXiv 2507.21455).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from decoct.artefacts.offset_networks import OffsetNetworks, offset_numbers
from decoct.core.shapes import Pictures, Rows

TURNS = 4  # views of an image: turned by 0, 90, 180 and 270 degrees
Coefficients = Float[Tensor, "image basis"]


@dataclass(frozen=True)
class Factored:
    """m images, each in four views, from U bases of small images and V bases of targets.

    The first basis starts as the mean of the pool, and every image has a coefficient of it; so the
    mean is kept, without a number besides those of the published budget.
    """

    image_bases: Float[Tensor, "images_basis channel low low"]
    image_coefficients: Float[Tensor, "image images_basis"]
    target_bases: Float[Tensor, "targets_basis dimension"]
    target_coefficients: Float[Tensor, "image targets_basis"]
    offsets: OffsetNetworks  # of the coefficients of the turned images' targets
    size: int  # pixels of an image

    def image_tensors(self) -> dict[str, Tensor]:
        """What a file keeps in place of the images."""
        size = torch.tensor(self.size, dtype=torch.int32)
        return {"bases": self.image_bases, "coefficients": self.image_coefficients, "size": size}

    def target_tensors(self) -> dict[str, Tensor]:
        """What a file keeps in place of the targets."""
        own = {"bases": self.target_bases, "coefficients": self.target_coefficients}
        return own | self.offsets.tensors()

    @property
    def bytes(self) -> int:
        """Exactly what a file keeps."""
        tensors = (*self.image_tensors().values(), *self.target_tensors().values())
        return sum(t.numel() * t.element_size() for t in tensors)

    def decode(self) -> tuple[Pictures, Rows]:
        """The 4 m normalised images and their targets; the views of one image are adjacent."""
        return factored_images(self.image_tensors()), factored_targets(self.target_tensors())


def factored_images(tensors: Mapping[str, Tensor]) -> Pictures:
    """The images that `Factored.image_tensors` stands for, in every view."""
    size = int(tensors["size"])
    upright = render(tensors["coefficients"], tensors["bases"], size=size)
    return torch.stack([turned(upright, turns) for turns in range(TURNS)], 1).flatten(0, 1)


def factored_targets(tensors: Mapping[str, Tensor]) -> Rows:
    """The targets that `Factored.target_tensors` stands for, in every view."""
    networks = {n: t for n, t in tensors.items() if n not in ("bases", "coefficients")}
    own, offsets = tensors["coefficients"], OffsetNetworks(**networks)
    coefficients = torch.cat([own[None], own + offsets(own)])
    return (coefficients @ tensors["bases"]).transpose(0, 1).flatten(0, 1)


def render(
    coefficients: Coefficients, bases: Float[Tensor, "basis channel low low"], *, size: int
) -> Float[Tensor, "image channel {size} {size}"]:
    """Images of `size` pixels, enlarged bilinearly from sums of bases.

    >>> render(torch.tensor([[2.0]]), torch.ones(1, 3, 4, 4), size=8).unique()
    tensor([2.])
    """
    small = (coefficients @ bases.flatten(1)).unflatten(1, bases.shape[1:])
    return F.interpolate(small, (size, size), mode="bilinear", align_corners=False)


def turned(images: Pictures, turns: int) -> Pictures:
    """Square images, turned anticlockwise by a number of right angles.

    >>> turned(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 1)
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """
    return torch.rot90(images, turns, (2, 3))


@dataclass(frozen=True)
class FactoredShape:
    """How many numbers a factored set takes; those of a picture include all channels."""

    pixels: int  # numbers in an image
    dimensions: int
    small_pixels: int  # numbers in a basis of images
    image_bases: int
    target_bases: int
    hidden: int  # units in each of the networks

    @property
    def shared(self) -> int:
        """The numbers that do not depend on how many images there are."""
        networks = (TURNS - 1) * offset_numbers(self.target_bases, hidden=self.hidden)
        bases = self.image_bases * self.small_pixels + self.target_bases * self.dimensions
        return bases + networks + 1  # the size of an image

    @property
    def each(self) -> int:
        """The numbers of one image and its targets."""
        return self.image_bases + self.target_bases

    def affordable(self, count: int) -> int:
        """m: the images for the numbers in `count` plain ones with their targets (formula 7).

        Below 1 if the bases and networks take them all.

        >>> FactoredShape(pixels=3 * 32**2, dimensions=512, small_pixels=3 * 16**2,
        ...               image_bases=200, target_bases=200, hidden=4).affordable(100)
        242
        """
        return (count * (self.pixels + self.dimensions) - self.shared) // self.each
