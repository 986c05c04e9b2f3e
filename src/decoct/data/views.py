"""Augmented views of a batch, made on the device with kornia, for self-supervised training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from decoct.data.images import Images
from decoct.errors import DecoctError


@dataclass(frozen=True)
class ViewsConfig:
    """How a view differs from its image (SimCLR's, Chen et al. 2020, appendix A, for 32 px)."""

    min_crop: float = 0.25  # smallest area of the random crop, as a share of the image
    flip: bool = True
    jitter: float = 0.4  # brightness, contrast and saturation; hue a quarter of it
    jitter_probability: float = 0.8
    grey_probability: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.min_crop <= 1:
            raise DecoctError(f"views.min_crop {self.min_crop} is outside (0, 1]")


def make_views(config: ViewsConfig, images: Images) -> Callable[[Tensor], Tensor]:
    """A function from uint8 B x C x H x W to normalised float views of the same shape.

    It draws from torch's global generator: call it inside `seeding.seeded`.
    """
    import kornia.augmentation as K  # takes a second to import, and only teachers need it

    steps: list[torch.nn.Module] = [
        K.RandomResizedCrop((images.size, images.size), scale=(config.min_crop, 1.0))
    ]
    if config.flip:
        steps.append(K.RandomHorizontalFlip())
    if config.jitter > 0:
        steps.append(_jitter(config, images.channels))
    if images.channels == 3 and config.grey_probability > 0:
        steps.append(K.RandomGrayscale(p=config.grey_probability))
    augment = torch.nn.Sequential(*steps)
    mean, std = images.mean.view(1, -1, 1, 1), images.std.view(1, -1, 1, 1)

    def views(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            view: Tensor = augment(pixels.float() / 255)
            return (view - mean) / std

    return views


def _jitter(config: ViewsConfig, channels: int) -> torch.nn.Module:
    import kornia.augmentation as K

    strength = config.jitter
    saturation, hue = (strength, strength / 4) if channels == 3 else (0.0, 0.0)
    jitter: torch.nn.Module = K.ColorJiggle(
        strength, strength, saturation, hue, p=config.jitter_probability
    )
    return jitter
