"""Augmented views of a batch, made on the device with kornia, for self-supervised training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from decoct.core import ranks
from decoct.core.settings import Bounds, Settings, Share
from decoct.core.shapes import ByChannel, PerImage, Pictures, Pixels
from decoct.data.images import Images

_FOR_ALL = ("order", "forward_input_shape")  # what kornia draws once for a batch


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """How a view differs from its image (as SimCLR, Chen et al. 2020, appendix A, for 32 px)."""

    section: ClassVar[str] = "augment"

    min_crop: Annotated[float, Bounds(above=0, at_most=1)] = 0.25  # smallest area of a random crop
    flip: bool = True  # left to right, half of the time
    jitter: Share = 0.4  # of brightness, contrast and saturation; hue gets a quarter of it
    jitter_probability: Share = 0.8  # how often colours are changed
    grey_probability: Share = 0.2  # how often colours are dropped


@runtime_checkable
class Augmenter(Protocol):
    """Maps images B x C x H x W to normalised float views of the same shape."""

    def __call__(self, images: Tensor, *, count: int | None = None) -> Pictures:
        """Views; with `count`, those of this rank's rows in a batch of so many images."""


def augmenter(config: AugmentConfig, images: Images) -> Augmenter:
    """A function that maps uint8 B x C x H x W to normalised float views of the same shape.

    It draws from torch's global generator, so call it inside `seeding.seeded`.
    """
    augment = _augmentation(config, channels=images.channels, size=images.size)
    mean, std = images.mean.view(1, -1, 1, 1), images.std.view(1, -1, 1, 1)

    def views(images: Pixels, *, count: int | None = None) -> Pictures:
        with torch.no_grad():
            view: Tensor = augment(images.float() / 255, count)
            return (view - mean) / std

    return views


def differentiable_augmenter(
    config: AugmentConfig, *, mean: ByChannel, std: ByChannel, size: int
) -> Augmenter:
    """As `augmenter`, but from normalised images B x C x H x W, and differentiable in them.

    `mean` and `std` are the statistics by which the images are normalised.
    """
    augment = _augmentation(config, channels=len(mean), size=size)
    mean, std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)

    def views(images: Pictures, *, count: int | None = None) -> Pictures:
        view: Tensor = augment(images * std + mean, count)
        return (view - mean) / std

    return views


def _augmentation(config: AugmentConfig, *, channels: int, size: int) -> torch.nn.Module:
    """A module that maps pictures in [0, 1], B x C x H x W, to augmented ones in [0, 1]."""
    import kornia.augmentation as K  # slow to import (a second); only self-supervision needs it

    # The same crops as kornia's default mode, which loops over the images in Python.
    steps: list[torch.nn.Module] = [
        K.RandomResizedCrop((size, size), (config.min_crop, 1.0), cropping_mode="resample")
    ]
    if config.flip:
        steps.append(K.RandomHorizontalFlip())
    if config.jitter > 0:
        steps.append(color_jiggle(config, channels))
    if channels == 3 and config.grey_probability > 0:
        steps.append(K.RandomGrayscale(p=config.grey_probability))
    return _OneByOne(*steps)


class _OneByOne(torch.nn.Sequential):
    """Kornia's augmentations, one after the other."""

    def forward(self, images: Pictures, count: int | None = None) -> Pictures:
        """Augment images; with `count`, this rank's rows as in the batch of so many images."""
        step: Any  # kornia has not typed them
        for step in self:
            if count is None or count == len(images):
                images = step(images)
                continue
            drawn = step.forward_parameters(torch.Size((count, *images.shape[1:])))
            if len(images):
                images = step(images, params=_of_rows(drawn, ranks.rows(count), count))
        return images


def _of_rows(drawn: Mapping[str, Tensor], rows: slice, count: int) -> dict[str, Any]:
    """What is drawn for some rows of a batch of `count` images."""
    kept = torch.zeros(count, dtype=torch.bool)
    kept[rows] = True
    # kornia before 0.9 draws numbers only for the images that a step changes
    changed = kept[drawn["batch_prob"] > 0.5]
    return {
        name: values if name in _FOR_ALL else values[kept if len(values) == count else changed]
        for name, values in drawn.items()
    }


def color_jiggle(config: AugmentConfig, channels: int) -> torch.nn.Module:
    """Kornia's ColorJiggle with the same draws, without converting to HSV and back: 4x faster."""
    import kornia.augmentation as K
    from kornia.enhance import adjust_brightness, adjust_contrast

    def brighten(images: Tensor, factor: Tensor) -> Tensor:
        brighter: Tensor = adjust_brightness(images, factor - 1)
        return brighter

    class Jiggle(K.ColorJiggle):  # type: ignore[misc]
        def apply_transform(
            self, input: Tensor, params: dict[str, Tensor], flags: object, transform: object = None
        ) -> Tensor:
            images, steps = input.clamp(0, 1), (brighten, adjust_contrast, saturate, turn_hue)
            names = ("brightness", "contrast", "saturation", "hue")
            for i in params["order"].tolist():
                if i < 2 or images.shape[1] == 3:
                    images = steps[i](images, params[f"{names[i]}_factor"].to(images))
            return images.clamp(0, 1)

    strength = config.jitter
    saturation, hue = (strength, strength / 4) if channels == 3 else (0.0, 0.0)
    return Jiggle(strength, strength, saturation, hue, p=config.jitter_probability)


def saturate(images: Pictures, factor: PerImage) -> Pictures:
    """Multiply HSV saturation by `factor` (B), limiting it to 1: B x 3 x H x W in [0, 1]."""
    value = images.amax(1, keepdim=True)
    chroma = (value - images.amin(1, keepdim=True)).clamp_min(1e-8)
    return value - (value - images) * torch.minimum(factor.view(-1, 1, 1, 1), value / chroma)


def turn_hue(images: Pictures, turns: PerImage) -> Pictures:
    """Rotate HSV hue by `turns` (B) of the colour circle: B x 3 x H x W in [0, 1].

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> turn_hue(red, torch.tensor([1 / 3])).flatten()
    tensor([0., 1., 0.])
    """
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    side = torch.where(
        red == value, green - blue, torch.where(green == value, blue - red, red - green)
    )
    corner = torch.where(red == value, 0.0, torch.where(green == value, 2.0, 4.0))
    hue = corner + side / chroma.clamp_min(1e-8) + 6 * turns.view(-1, 1, 1, 1)  # in sixths
    from_corner = (hue + hue.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)).remainder(6)
    return value - chroma * torch.minimum(from_corner, 4 - from_corner).clamp(0, 1)
