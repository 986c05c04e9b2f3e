"""Augmented views: normalised, varied, seeded."""

from dataclasses import replace

import pytest
import torch
from kornia.augmentation import ColorJiggle, RandomResizedCrop
from kornia.enhance import adjust_hue, adjust_saturation

from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.data.augment import (
    AugmentConfig,
    augmenter,
    color_jiggle,
    differentiable_augmenter,
    saturate,
    turn_hue,
)
from decoct.data.images import Images


@pytest.mark.parametrize("channels", [1, 3])
def test_views_differ_from_the_image_and_from_each_other(
    tiny_images: Images, channels: int
) -> None:
    images = Images.from_array(tiny_images.pixels, channels=channels)
    views = augmenter(AugmentConfig(), images)
    with seeding.seeded(0, "a"):
        first, second = views(images.pixels), views(images.pixels)
    assert first.shape == images.pixels.shape
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    assert not first.requires_grad
    assert abs(float(first.mean())) < 0.5  # normalised by the images' statistics


def test_the_same_seed_gives_the_same_views(tiny_images: Images) -> None:
    views = augmenter(AugmentConfig(), tiny_images)
    drawn = []
    for _ in range(2):
        with seeding.seeded(3, "views"):
            drawn.append(views(tiny_images.pixels))
    assert torch.equal(*drawn)


def test_without_variation_a_view_is_the_normalised_image(tiny_images: Images) -> None:
    config = AugmentConfig(flip=False, jitter=0, grey_probability=0, min_crop=1.0)
    crop = augmenter(config, tiny_images)(tiny_images.pixels)
    close = (crop - tiny_images.normalised()).abs().mean()
    assert float(close) < 0.5  # the whole area, at another aspect ratio


@pytest.mark.parametrize("channels", [1, 3])
def test_learnt_views_are_the_same_ones_with_a_gradient(tiny_images: Images, channels: int) -> None:
    images = Images.from_array(tiny_images.pixels, channels=channels)
    learnt = images.normalised().requires_grad_()
    learnt_views = differentiable_augmenter(
        AugmentConfig(), mean=images.mean, std=images.std, size=16
    )
    with seeding.seeded(2, "views"):
        expected = augmenter(AugmentConfig(), images)(images.pixels)
    with seeding.seeded(2, "views"):
        got = learnt_views(learnt)
    assert torch.allclose(got, expected, atol=1e-3)
    got.square().sum().backward()
    assert learnt.grad is not None and bool(learnt.grad.isfinite().all())
    moved = learnt.grad.flatten(1).norm(dim=1) > 0
    assert float(moved.float().mean()) > 0.9  # a view all black or white has none


@pytest.mark.parametrize("min_crop", [0.0, -0.1, 1.1])
def test_crops_outside_the_image_are_refused(min_crop: float) -> None:
    with pytest.raises(DecoctError, match="min_crop"):
        AugmentConfig(min_crop=min_crop)


# What is done here must be what kornia does


def pictures(channels: int = 3) -> torch.Tensor:
    """Random colours, including greys, black, white and pure colours."""
    images = torch.rand(16, channels, 9, 9, generator=torch.Generator().manual_seed(0))
    images[0, :, 0] = torch.linspace(0, 1, 9)
    images[1] = (images[1] > 0.5).float()
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_jiggle_is_kornias_to_the_draw(channels: int, probability: float) -> None:
    config = AugmentConfig(jitter_probability=probability)
    more = (0.4, 0.1) if channels == 3 else (0.0, 0.0)
    images, kornias = pictures(channels), ColorJiggle(0.4, 0.4, *more, p=probability)
    for step in range(6):  # several orders of the four changes
        with seeding.seeded(step, "jiggle"):
            got = color_jiggle(config, channels)(images)
        with seeding.seeded(step, "jiggle"):
            expected = kornias(images)
        assert torch.allclose(got, expected, atol=1e-4)
        assert 0 <= float(got.min()) <= float(got.max()) <= 1


def test_saturation_and_hue_are_kornias() -> None:
    images, factors = pictures(), torch.linspace(0, 2, 16)
    assert torch.allclose(saturate(images, factors), adjust_saturation(images, factors), atol=1e-5)
    turns = torch.linspace(-0.5, 0.5, 16)
    expected = adjust_hue(images, turns * 2 * torch.pi)
    assert torch.allclose(turn_hue(images, turns), expected, atol=1e-4)
    nothing = torch.zeros(16)
    assert torch.allclose(turn_hue(images, nothing), images, atol=1e-6)
    assert torch.allclose(saturate(images, nothing + 1), images, atol=1e-6)


def test_crops_are_those_of_kornias_default_mode(tiny_images: Images) -> None:
    config = AugmentConfig(flip=False, jitter=0, grey_probability=0)
    with seeding.seeded(0, "crop"):
        got = augmenter(config, tiny_images)(tiny_images.pixels)
    with seeding.seeded(0, "crop"):
        crops = RandomResizedCrop((16, 16), scale=(0.25, 1.0))(tiny_images.pixels.float() / 255)
    expected = (crops - tiny_images.mean.view(1, 3, 1, 1)) / tiny_images.std.view(1, 3, 1, 1)
    assert torch.allclose(got, expected, atol=1e-3)


def test_flips_only_flip(tiny_images: Images) -> None:
    config = AugmentConfig(min_crop=1.0, jitter=0, grey_probability=0)
    with seeding.seeded(1, "flip"):
        flipped = augmenter(config, tiny_images)(tiny_images.pixels)
    with seeding.seeded(1, "flip"):
        unflipped = augmenter(replace(config, flip=False), tiny_images)(tiny_images.pixels)
    same = (flipped - unflipped).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (flipped - unflipped.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert bool((same ^ mirrored).all())
    assert 0 < int(mirrored.sum()) < len(same)
