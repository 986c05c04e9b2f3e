"""Tests of image grids: every pixel is in the right place."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.report.image_grid import image_grid, paired_grid, png_bytes


def colours(count: int, size: int = 4) -> torch.Tensor:
    """Images of one colour each: (0, 0, 0), (10, 20, 30), (20, 40, 60), ..."""
    base = torch.tensor([10, 20, 30]).view(1, 3, 1, 1) * torch.arange(count).view(-1, 1, 1, 1)
    return base.expand(-1, -1, size, size).to(torch.uint8)


def test_images_stand_row_by_row() -> None:
    grid = np.asarray(image_grid(colours(5), columns=3))
    assert grid.shape == (10, 16, 4)
    for i in range(5):
        top, left = 6 * (i // 3), 6 * (i % 3)
        tile = grid[top : top + 4, left : left + 4]
        assert (tile == [10 * i, 20 * i, 30 * i, 255]).all()


def test_between_images_it_is_transparent() -> None:
    alpha = np.asarray(image_grid(colours(5), columns=3))[..., 3]
    assert alpha[4:6].max() == 0
    assert alpha[:, 4:6].max() == 0
    assert alpha[6:, 12:].max() == 0  # no sixth image
    assert (alpha == 255).sum() == 5 * 16


def test_grey_becomes_colour() -> None:
    grey = torch.full((1, 1, 2, 2), 7, dtype=torch.uint8)
    assert (np.asarray(image_grid(grey)) == [7, 7, 7, 255]).all()


def test_scale_repeats_pixels() -> None:
    small, large = (np.asarray(image_grid(colours(3), scale=s)) for s in (1, 3))
    np.testing.assert_array_equal(large, small.repeat(3, 0).repeat(3, 1))


def test_limit_and_the_square_default() -> None:
    assert image_grid(colours(30), limit=9).size == (16, 16)
    assert image_grid(colours(2), columns=10).size == (10, 4)


def test_a_pair_of_grids_keeps_the_places() -> None:
    left, right = colours(4), 255 - colours(4)
    grid = np.asarray(paired_grid(left, right, scale=2))
    half = np.asarray(image_grid(left, scale=2))
    other = np.asarray(image_grid(right, scale=2))
    np.testing.assert_array_equal(grid[:, : half.shape[1]], half)
    np.testing.assert_array_equal(grid[:, -other.shape[1] :], other)
    assert grid[:, half.shape[1] : -other.shape[1], 3].max() == 0


def test_png_bytes_are_read_back_as_they_were() -> None:
    image = image_grid(colours(3))
    with Image.open(io.BytesIO(png_bytes(image))) as back:
        np.testing.assert_array_equal(np.asarray(back), np.asarray(image))


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), "no images"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "1 or 3 channels"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.uint8), "1 or 3 channels"),
        (torch.zeros(1, 3, 4, 4), "float32"),
    ],
)
def test_what_is_no_images_is_refused(pixels: torch.Tensor, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        image_grid(pixels)


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(DecoctError, match="scale is 0"):
        image_grid(colours(1), scale=0)
