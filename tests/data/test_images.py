"""`Images`: arrays in memory, statistics, normalisation, channels and files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoct.core.errors import DecoctError
from decoct.data.arrays import convert_channels, resize_and_crop
from decoct.data.images import Images, denormalise, normalise

DRAWS = np.random.default_rng(0)
COLOUR = DRAWS.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        COLOUR,
        COLOUR.transpose(0, 3, 1, 2),
        torch.as_tensor(COLOUR),
        list(COLOUR),
        COLOUR.astype(np.float64) / 255,
        torch.as_tensor(COLOUR).float() / 255,
    ],
    ids=["last", "first", "tensor", "list", "float64", "float32"],
)
def test_arrays_in_memory(array: Any) -> None:
    images = Images.from_array(array)
    assert images.pixels.dtype == torch.uint8
    assert torch.equal(images.pixels, torch.as_tensor(COLOUR).permute(0, 3, 1, 2))
    assert (len(images), images.channels, images.size) == (6, 3, 8)


def test_grey_arrays_have_one_channel() -> None:
    assert Images.from_array(COLOUR[..., 0]).pixels.shape == (6, 1, 8, 8)
    assert Images.from_array(COLOUR[..., 0], channels=3).channels == 3


@pytest.mark.parametrize(
    "array, sentence",
    [
        (np.zeros((0, 8, 8, 3), np.uint8), "there are no images"),
        ([], "does not hold images"),
        (np.zeros(5, np.uint8), "does not hold images"),
        (np.zeros((2, 8, 8, 4), np.uint8), "neither 1 nor 3 channels"),
        ([COLOUR[0], COLOUR[1, ..., 0]], r"differ in size or channels \(\(8, 8\), \(8, 8, 3\)\)"),
        (COLOUR.astype(np.int64), "give uint8, or floats"),
        (COLOUR.astype(np.float32), r"outside \[0, 1\]"),
        (np.array([["a"]]), "does not hold images"),
        (np.full((2, 8, 8), 7, np.uint8), "constant"),
        (COLOUR * np.array([1, 1, 0], np.uint8), "channel 2 has one value in all images"),
        (COLOUR[:, :4], "give a size to crop to"),
    ],
)
def test_what_cannot_be_images_is_refused(array: Any, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        Images.from_array(array, name="mine")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_images_are_counted(bad: float) -> None:
    array = COLOUR.astype(np.float32) / 255
    array[4, 0, 0, 0] = bad
    with pytest.raises(DecoctError, match=r"mine: 1 images .* non-finite pixels, .* at index 4"):
        Images.from_array(array, name="mine")


def test_some_constant_images_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    array = COLOUR.copy()
    array[2] = 9
    Images.from_array(array, name="mine")
    assert "1 of 6 images are constant" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "labels, sentence",
    [([0, 1], "2 labels for 6 images"), (["a"] * 6, "whole numbers"), ([0.5] * 6, "float64")],
)
def test_labels_must_fit(labels: Any, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        Images.from_array(COLOUR, labels=labels)


def test_statistics_are_exact() -> None:
    images = Images.from_array(COLOUR)
    unit = COLOUR.astype(np.float64) / 255
    np.testing.assert_allclose(images.mean, unit.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(images.std, unit.std((0, 1, 2)), rtol=1e-6)
    x = images.normalised()
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), unbiased=False), torch.ones(3))


@given(mean=st.floats(0.05, 0.95), std=st.floats(0.01, 0.5), channels=st.sampled_from([1, 3]))
def test_denormalise_undoes_normalise(mean: float, std: float, channels: int) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, channels, 16, 16)
    stats = torch.full((channels,), mean), torch.full((channels,), std)
    assert torch.equal(denormalise(normalise(pixels, *stats), *stats), pixels)


def test_denormalise_clips() -> None:
    wild = torch.tensor([-100.0, 100.0]).view(1, 1, 1, 2)
    assert denormalise(wild, torch.tensor([0.5]), torch.tensor([0.2])).flatten().tolist() == [
        0,
        255,
    ]


def test_colour_becomes_grey_by_luma() -> None:
    pixels = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert convert_channels(pixels, 1).item() == 76


def test_resize_keeps_a_square_that_fits() -> None:
    pixels = torch.as_tensor(COLOUR).permute(0, 3, 1, 2)
    assert resize_and_crop(pixels, 8) is pixels
    assert resize_and_crop(pixels[:, :, :6], 4).shape == (6, 3, 4, 4)


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    images = Images.from_array(COLOUR, labels=range(6), class_names="abcdef", name="mine")
    images.save(tmp_path / "images.safetensors")
    again = Images.load(tmp_path / "images.safetensors")
    assert again.digest == images.digest
    assert (again.name, again.class_names) == ("mine", tuple("abcdef"))


def test_subset_keeps_the_statistics() -> None:
    images = Images.from_array(COLOUR, labels=range(6))
    some = images.subset(torch.tensor([4, 1]))
    assert some.labels is not None and some.labels.tolist() == [4, 1]
    assert torch.equal(some.mean, images.mean)
    assert torch.equal(some.normalised(), images.normalised()[[4, 1]])
    assert some.digest != images.digest
