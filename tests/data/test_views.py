"""Augmented views: normalised, varied, seeded."""

import pytest
import torch

from decoct import seeding
from decoct.data.images import Images
from decoct.data.views import ViewsConfig, make_views
from decoct.errors import DecoctError


@pytest.mark.parametrize("channels", [1, 3])
def test_views_differ_from_the_image_and_from_each_other(
    tiny_images: Images, channels: int
) -> None:
    images = Images.from_array(tiny_images.pixels, channels=channels)
    views = make_views(ViewsConfig(), images)
    with seeding.seeded(0, "a"):
        first, second = views(images.pixels), views(images.pixels)
    assert first.shape == images.pixels.shape
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    assert not first.requires_grad
    assert abs(float(first.mean())) < 0.5  # normalised by the images' statistics


def test_the_same_seed_gives_the_same_views(tiny_images: Images) -> None:
    views = make_views(ViewsConfig(), tiny_images)
    drawn = []
    for _ in range(2):
        with seeding.seeded(3, "views"):
            drawn.append(views(tiny_images.pixels))
    assert torch.equal(*drawn)


def test_without_variation_a_view_is_the_normalised_image(tiny_images: Images) -> None:
    config = ViewsConfig(flip=False, jitter=0, grey_probability=0, min_crop=1.0)
    crop = make_views(config, tiny_images)(tiny_images.pixels)
    close = (crop - tiny_images.normalised()).abs().mean()
    assert float(close) < 0.5  # the whole area, at another aspect ratio


@pytest.mark.parametrize("min_crop", [0.0, -0.1, 1.1])
def test_crops_outside_the_image_are_refused(min_crop: float) -> None:
    with pytest.raises(DecoctError, match="min_crop"):
        ViewsConfig(min_crop=min_crop)
