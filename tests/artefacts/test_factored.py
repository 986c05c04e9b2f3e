"""A factored set decodes to what its formula says, turns its images, and counts its bytes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from decoct.artefacts.codes import Coded
from decoct.artefacts.factored import TURNS, Factored, FactoredShape, render, turned
from decoct.artefacts.offset_networks import OffsetNetworks

M, U, V, D, LOW, SIZE, HIDDEN = 3, 5, 4, 6, 4, 8, 2


@pytest.fixture
def factored() -> Factored:
    draws = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draws)

    return Factored(
        image_bases=normal(U, 3, LOW, LOW),
        image_coefficients=normal(M, U),
        target_bases=normal(V, D),
        target_coefficients=normal(M, V),
        offsets=OffsetNetworks(
            normal(3, HIDDEN, V), normal(3, HIDDEN), normal(3, V, HIDDEN), normal(3, V)
        ),
        size=SIZE,
    )


def test_it_decodes_to_what_the_formula_says(factored: Factored) -> None:
    images, targets = factored.decode()
    assert images.shape == (TURNS * M, 3, SIZE, SIZE) and targets.shape == (TURNS * M, D)
    for i in range(M):
        small = sum(
            c * basis
            for c, basis in zip(factored.image_coefficients[i], factored.image_bases, strict=True)
        )
        assert isinstance(small, Tensor)
        large = F.interpolate(small[None], size=SIZE, mode="bilinear")[0]
        for turns in range(TURNS):
            row = TURNS * i + turns  # views of one image are adjacent
            assert np.allclose(images[row], np.rot90(large.numpy(), turns, (1, 2)))
            told = factored.target_coefficients[i]
            if turns:
                w_in, b_in, w_out, b_out = (
                    t[turns - 1] for t in factored.offsets.tensors().values()
                )
                told = told + w_out @ torch.relu(w_in @ told + b_in) + b_out
            assert torch.allclose(targets[row], told @ factored.target_bases)


def test_four_turns_are_none_and_keep_every_pixel() -> None:
    images = torch.rand(2, 3, 5, 5)
    assert torch.equal(turned(images, 0), images)
    assert torch.equal(turned(turned(images, 1), 1), turned(images, 2))
    assert torch.equal(turned(turned(images, 3), 1), images)
    assert torch.equal(turned(images, 2), images.flip(2, 3))
    assert all(torch.equal(turned(images, n)[..., 2, 2], images[..., 2, 2]) for n in range(4))


def test_bases_of_an_images_own_size_are_not_blurred() -> None:
    bases, coefficients = torch.randn(3, 1, 6, 6), torch.randn(2, 3)
    expected = torch.einsum("mu,uchw->mchw", coefficients, bases)
    assert torch.allclose(render(coefficients, bases, size=6), expected, atol=1e-6)


def test_its_bytes_are_those_of_the_formula(factored: Factored) -> None:
    shape = FactoredShape(
        pixels=3 * SIZE**2,
        dimensions=D,
        small_pixels=3 * LOW**2,
        image_bases=U,
        target_bases=V,
        hidden=HIDDEN,
    )
    numbers = shape.shared + M * shape.each
    assert factored.bytes == 8 * (numbers - 1) + 4  # float64, and the size in an int32


def test_its_codes_are_all_of_it(factored: Factored) -> None:
    images, targets = factored.decode()
    for code, tensors, expected in (
        ("factored-images", factored.image_tensors(), images),
        ("factored-targets", factored.target_tensors(), targets),
    ):
        assert torch.equal(Coded(code, tensors).decode(), expected)


def test_the_published_budget_gives_the_published_number() -> None:
    shape = FactoredShape(
        pixels=3 * 32**2,
        dimensions=512,
        small_pixels=3 * 16**2,
        image_bases=200,
        target_bases=200,
        hidden=4,
    )
    assert shape.affordable(100) == 242
    plain = 100 * (3 * 32 * 32 + 512)
    left = plain - 3 * 200 * 16 * 16 - 200 * 512 - 3 * (200 * 4 + 4 + 4 * 200 + 200)
    assert shape.affordable(100) == left // (200 + 200)  # the size of an image costs none


@given(*(some.integers(1, 40) for _ in range(7)))
def test_it_takes_the_bytes_of_plain_images_and_no_more(
    count: int, pixels: int, dimensions: int, small: int, u: int, v: int, hidden: int
) -> None:
    shape = FactoredShape(pixels, dimensions, small, u, v, hidden)
    plain, m = count * (pixels + dimensions), shape.affordable(count)
    assert shape.shared + m * shape.each <= plain < shape.shared + (m + 1) * shape.each
