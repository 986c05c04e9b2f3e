"""Stored views: nine bytes describe how a view differs from its image, the same on any machine."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Integer, UInt8
from torch import Tensor

from decoct.core.shapes import Pictures
from decoct.data.augment import AugmentConfig, saturate, turn_hue

NUMBERS = 9  # left, top, width, height, flip, brightness, contrast, saturation, hue
_ONE = 128  # the byte that stands for a factor of 1, and for no rotation of the hue
_PLAIN = (0, 0, 255, 255, 0, _ONE, _ONE, _ONE, _ONE)
_RATIOS = (3 / 4, 4 / 3)  # limits of a crop's width divided by its height, as in SimCLR


def plain_views(count: int) -> UInt8[Tensor, "{count} 9"]:
    """The numbers of `count` views that equal the images themselves: uint8, count x 9.

    >>> images = torch.rand(2, 3, 8, 8)
    >>> torch.allclose(show_views(images, plain_views(2)), images, atol=1e-6)
    True
    """
    return torch.tensor(_PLAIN, dtype=torch.uint8).repeat(count, 1)


def draw_views(
    config: AugmentConfig, count: int, draws: torch.Generator
) -> UInt8[Tensor, "{count} 9"]:
    """The numbers of `count` random views: uint8, count x 9.

    The area of a crop is between `config.min_crop` and 1, its aspect ratio between 3/4 and 4/3.
    Left and top are fractions of the room that the crop leaves; factors are in 1/128, rotations of
    the hue in 1/256 of the circle.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=draws)

    area = uniform(config.min_crop, 1.0)
    root = uniform(*map(math.log, _RATIOS)).div(2).exp()  # square root of the ratio
    root = root.clamp(area.sqrt(), area.rsqrt())  # so that neither side exceeds the image's
    sides = [area.sqrt() * root, area.sqrt() / root]
    places = [uniform(0, 1), uniform(0, 1)]
    flip = uniform(0, 1) < (0.5 if config.flip else 0)
    factors = torch.stack([uniform(-1, 1) for _ in range(3)], 1) * config.jitter
    hue = uniform(-1, 1) * config.jitter / 4
    calm = uniform(0, 1) >= config.jitter_probability
    grey = uniform(0, 1) < config.grey_probability
    factors[calm], hue[calm] = 0.0, 0.0
    factors[grey, 2] = -1.0  # saturation 0
    parts = [255 * torch.stack(places + sides, 1), flip.float()[:, None]]
    parts += [_ONE * (1 + factors), _ONE + 256 * hue[:, None]]
    return torch.cat(parts, 1).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class FreshViews:
    """Views that are drawn while training, each used once.

    >>> FreshViews(plain=1.0).draw(1)
    tensor([[  0,   0, 255, 255,   0, 128, 128, 128, 128]], dtype=torch.uint8)
    """

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    plain: float = 0.0  # the fraction that shows the images themselves

    def draw(self, count: int) -> UInt8[Tensor, "{count} 9"]:
        """The numbers of `count` views, from torch's global generator: uint8, count x 9."""
        numbers = draw_views(self.augment, count, torch.default_generator)
        if self.plain > 0:
            plain = torch.rand(count) < self.plain
            numbers[plain] = plain_views(int(plain.sum()))
        return numbers


def show_views(images: Pictures, numbers: Integer[Tensor, "image 9"]) -> Pictures:
    """Apply a view to each image: B x C x H x W in [0, 1] and B x 9 to B x C x H x W in [0, 1].

    Differentiable in the images. First crops and flips, bilinearly; then scales brightness,
    contrast (the distance to the view's mean) and, in colour, saturation, and rotates the hue.

    >>> numbers = draw_views(AugmentConfig(), 2, torch.Generator().manual_seed(0))
    >>> show_views(torch.rand(2, 3, 8, 8), numbers).shape
    torch.Size([2, 3, 8, 8])
    """
    if not len(images):  # torch refuses an empty grid
        return images
    values = numbers.to(images)
    views = _crop(images, values[:, :4] / 255, flip=values[:, 4] > 0)
    bright, contrast, saturation = (v.view(-1, 1, 1, 1) / _ONE for v in values[:, 5:8].unbind(1))
    views = (views * bright).clamp(0, 1)
    mean = views.mean((1, 2, 3), keepdim=True)
    views = (mean + contrast * (views - mean)).clamp(0, 1)
    if images.shape[1] == 3:
        views = turn_hue(saturate(views, saturation), (values[:, 8] - _ONE) / 256)
    return views


def _crop(images: Tensor, box: Tensor, *, flip: Tensor) -> Tensor:
    """Enlarge each image's box (given as fractions: of the room left, then of the whole image)."""
    place, side = box[:, :2], box[:, 2:]
    centre = (2 * place - 1) * (1 - side)  # from -1 to 1
    scale = side * torch.stack([1 - 2 * flip.to(side), torch.ones_like(side[:, 0])], 1)
    affine = torch.cat([torch.diag_embed(scale), centre[:, :, None]], 2)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
