"""Views as numbers: each number has its documented effect on an image, and no other."""

import math

import pytest
import torch
from torch import Tensor

from decoct.data.augment import AugmentConfig
from decoct.data.stored_views import NUMBERS, draw_views, plain_views, show_views

NAMES = (
    "left",
    "top",
    "width",
    "height",
    "flip",
    "brightness",
    "contrast",
    "saturation",
    "hue",
)
COLOURS = ["brightness", "contrast", "saturation", "hue"]
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def pictures(count: int = 4, channels: int = 3, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Random ones of 8 px, between two values."""
    draws = torch.Generator().manual_seed(count)
    return low + (high - low) * torch.rand(count, channels, 8, 8, generator=draws)


def view(images: Tensor, **numbers: int) -> Tensor:
    """The plain view with these numbers changed."""
    changed = plain_views(len(images))
    for name, value in numbers.items():
        changed[:, NAMES.index(name)] = value
    return show_views(images, changed)


def drawn(config: AugmentConfig, *, count: int = 2000, seed: int = 0) -> dict[str, Tensor]:
    """Random numbers by name."""
    numbers = draw_views(config, count, torch.Generator().manual_seed(seed))
    assert numbers.shape == (count, NUMBERS) and numbers.dtype == torch.uint8
    return dict(zip(NAMES, numbers.double().unbind(1), strict=True))


# What a view shows


@CHANNELS
def test_a_plain_view_is_the_image(channels: int) -> None:
    images = pictures(channels=channels)
    assert torch.allclose(view(images), images, atol=1e-5)


@CHANNELS
def test_a_flip_mirrors_the_image(channels: int) -> None:
    images = pictures(channels=channels)
    assert torch.allclose(view(images, flip=1), images.flip(3), atol=1e-5)


def test_a_flip_mirrors_the_crop() -> None:
    images, box = pictures(), {"left": 40, "top": 200, "width": 150, "height": 120}
    assert torch.allclose(view(images, flip=1, **box), view(images, **box).flip(3), atol=1e-5)


@pytest.mark.parametrize("place, side", [(0, 102), (51, 102), (255, 204), (128, 255)])
@pytest.mark.parametrize("names", [("left", "width"), ("top", "height")])
def test_a_crop_of_a_ramp_is_the_ramp_over_the_box(
    names: tuple[str, str], place: int, side: int
) -> None:
    centres = (torch.arange(8) + 0.5) / 8  # of pixels, as shares of the image
    ramp = centres.expand(1, 3, 8, 8)
    images = ramp if names[0] == "left" else ramp.transpose(2, 3)
    share = side / 255
    start = place / 255 * (1 - share)
    expected = (start + share * centres).clamp(centres[0], centres[-1]).expand(1, 3, 8, 8)
    got = view(images, **{names[0]: place, names[1]: side})
    assert torch.allclose(got if names[0] == "left" else got.transpose(2, 3), expected, atol=1e-5)


def test_a_crop_sees_nothing_of_the_other_half() -> None:
    images = torch.full((1, 3, 8, 8), 0.2)
    images[..., 4:] = 0.8
    for left, value in ((0, 0.2), (255, 0.8)):
        got = view(images, left=left, width=102)
        assert torch.allclose(got, torch.full_like(images, value), atol=1e-5)


@CHANNELS
def test_brightness_is_a_factor_and_ends_at_white(channels: int) -> None:
    images = pictures(channels=channels)
    assert torch.allclose(view(images, brightness=64), images / 2, atol=1e-5)
    assert torch.allclose(view(images, brightness=192), (1.5 * images).clamp_max(1), atol=1e-5)


@CHANNELS
@pytest.mark.parametrize("byte", [0, 64, 192])
def test_contrast_scales_distances_to_the_views_mean(channels: int, byte: int) -> None:
    images = pictures(channels=channels, low=0.35, high=0.65)  # nothing is clipped
    mean, got = images.mean((1, 2, 3), keepdim=True), view(images, contrast=byte)
    assert torch.allclose(got.mean((1, 2, 3), keepdim=True), mean, atol=1e-5)
    assert torch.allclose(got - mean, byte / 128 * (images - mean), atol=1e-5)


def test_without_saturation_all_channels_are_equal() -> None:
    images = pictures()
    value = images.amax(1, keepdim=True).expand_as(images)  # HSV's, which saturation keeps
    for hue in (0, 128, 200):
        assert torch.allclose(view(images, saturation=0, hue=hue), value, atol=1e-5)


def test_turns_of_the_hue() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    # A half turn to cyan; a quarter turn between yellow and green.
    for byte, colour in ((0, [0.0, 1.0, 1.0]), (192, [0.5, 1.0, 0.0])):
        expected = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        assert torch.allclose(view(red, hue=byte), expected, atol=1e-5)


def test_grey_images_have_no_saturation_and_no_hue() -> None:
    images, rest = pictures(channels=1), {"width": 150, "brightness": 100, "contrast": 180}
    assert torch.equal(view(images, saturation=0, hue=7, **rest), view(images, **rest))


@CHANNELS
def test_any_numbers_give_a_picture(channels: int) -> None:
    images = pictures(256, channels)
    images[:64] = images[:64].round()  # black, white and pure colours
    draws = torch.Generator().manual_seed(1)
    got = show_views(images, torch.randint(0, 256, (256, NUMBERS), generator=draws).byte())
    assert got.shape == images.shape
    assert float(got.min()) >= -1e-6 and float(got.max()) <= 1 + 1e-6


def test_a_view_depends_on_its_own_numbers_alone() -> None:
    images, numbers = pictures(6), draw_views(AugmentConfig(), 6, torch.Generator().manual_seed(0))
    alone = [show_views(images[i : i + 1], numbers[i : i + 1]) for i in range(6)]
    assert torch.allclose(show_views(images, numbers), torch.cat(alone), atol=1e-6)


@CHANNELS
def test_the_gradient_is_that_of_the_view(channels: int) -> None:
    images = pictures(2, channels, 0.3, 0.6)[..., :4, :4].double().requires_grad_()
    numbers = torch.tensor(
        [[30, 200, 180, 220, 1, 120, 140, 110, 150], [255, 0, 200, 150, 0, 140, 100, 120, 100]]
    )
    assert torch.autograd.gradcheck(lambda x: show_views(x, numbers), (images,))


# What is drawn


@pytest.mark.parametrize("min_crop", [0.08, 0.25, 0.75])
def test_crops_keep_their_area_and_ratio_up_to_rounding(min_crop: float) -> None:
    found = drawn(AugmentConfig(min_crop=min_crop))
    width, height = found["width"], found["height"]
    assert bool(((width + 0.5) * (height + 0.5) >= min_crop * 255**2).all())
    assert bool(((width + 0.5) / (height - 0.5) >= 3 / 4).all())
    assert bool(((width - 0.5) / (height + 0.5) <= 4 / 3).all())
    for place in (found["left"], found["top"]):  # anywhere in the room that is left
        assert float(place.min()) < 5 and float(place.max()) > 250
        assert float(place.mean()) == pytest.approx(127.5, abs=6)


def test_colours_stay_within_the_jitter() -> None:
    found = drawn(AugmentConfig(jitter=0.4, grey_probability=0))
    for name in COLOURS[:3]:
        off = (found[name] / 128 - 1).abs()
        assert 0.35 < float(off.max()) <= 0.4 + 0.5 / 128
    turns = ((found["hue"] - 128) / 256).abs()
    assert 0.09 < float(turns.max()) <= 0.1 + 0.5 / 256


def test_flips_jitter_and_grey_have_their_probabilities() -> None:
    found = drawn(AugmentConfig(jitter_probability=0.5, grey_probability=0.25))
    calm = (found["brightness"] == 128) & (found["contrast"] == 128) & (found["hue"] == 128)
    for happened, share in ((found["flip"], 0.5), (calm, 0.5), (found["saturation"] == 0, 0.25)):
        error = math.sqrt(share * (1 - share) / 2000)
        assert float(happened.double().mean()) == pytest.approx(share, abs=4 * error)


@pytest.mark.parametrize("calm", [{"jitter": 0.0}, {"jitter_probability": 0.0}])
def test_without_flip_jitter_and_grey_only_the_crop_differs(calm: dict[str, float]) -> None:
    config = AugmentConfig(flip=False, grey_probability=0, **calm)
    found = drawn(config, count=200)
    assert not found["flip"].any()
    assert all(bool((found[name] == 128).all()) for name in COLOURS)


def test_the_same_seed_draws_the_same_numbers() -> None:
    one, same, other = (drawn(AugmentConfig(), count=50, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in NAMES)
    assert not any(torch.equal(one[name], other[name]) for name in NAMES)
