"""Codes give back what they should: exactly, to half a step, or as a picture's quality allows."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decoct.artefacts.codes import float16, int8, pack, procedural, unpack, webp
from decoct.core.errors import DecoctError
from tests.conftest import smooth_pixels


@given(seed=st.integers(0, 2**32), scale=st.floats(1e-6, 1e4))
def test_int8_is_right_to_half_a_step_of_each_row(seed: int, scale: float) -> None:
    values = scale * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))
    coded = int8(values)
    step = values.abs().amax((1, 2), keepdim=True) / 127
    assert bool(((coded.decode() - values).abs() <= step * 0.501).all())
    assert coded.bytes == values.numel() + 4 * 3
    by_column = int8(values.flatten(1), axis=1)
    assert by_column.tensors["scale"].shape == (1, 20)


def test_int8_takes_rows_of_zeros() -> None:
    assert bool((int8(torch.zeros(2, 3)).decode() == 0).all())


def test_float16_is_torchs() -> None:
    values = torch.randn(4, 5)
    assert torch.equal(float16(values).decode(), values.half().float())
    assert float16(values).bytes == 2 * 20


@pytest.mark.parametrize("bad", [1e6, float("nan"), float("inf")])
def test_what_float16_cannot_hold_is_refused(bad: float) -> None:
    with pytest.raises(DecoctError, match="float16"):
        float16(torch.tensor([1.0, bad]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_lossless_webp_changes_nothing(channels: int, count: int) -> None:
    pixels = torch.randint(256, (count, channels, 8, 8), dtype=torch.uint8)
    assert torch.equal(webp(pixels).decode(), pixels)


def test_webp_is_a_picture_that_others_can_read() -> None:
    pixels = smooth_pixels(5, seed=0)
    coded = webp(pixels)
    stream = coded.tensors["stream"].numpy().tobytes()
    picture = np.array(Image.open(io.BytesIO(stream)))
    assert picture.shape == (32, 48, 3)  # two rows of three
    assert np.array_equal(picture[:16, 16:32], pixels[1].permute(1, 2, 0).numpy())


def test_a_lower_quality_takes_fewer_bytes_and_errs_more() -> None:
    pixels = smooth_pixels(30, seed=1, size=32)
    found = [webp(pixels, quality=quality) for quality in (100, 90, 50, 10)]
    bytes_ = [coded.bytes for coded in found]
    errors = [(c.decode().float() - pixels.float()).square().mean().item() for c in found]
    assert bytes_ == sorted(bytes_, reverse=True)
    assert errors == sorted(errors) and errors[0] == 0 < errors[1]
    assert errors[-1] < 30**2


def test_images_that_fill_no_picture_are_refused() -> None:
    with pytest.raises(DecoctError, match="do not fit in one WebP picture; keep fewer images"):
        webp(torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(4, 3, 9000, 9000))


def test_a_seed_is_all_that_procedural_pictures_keep() -> None:
    coded = procedural("blobs", shape=(7, 3, 16, 16), seed=3)
    assert coded.bytes == 40
    pixels = coded.decode()
    assert pixels.shape == (7, 3, 16, 16) and pixels.dtype == torch.uint8
    assert torch.equal(pixels, coded.decode())
    other = procedural("blobs", shape=(7, 3, 16, 16), seed=4).decode()
    assert not torch.equal(pixels, other)


def test_parts_are_packed_beside_other_tensors() -> None:
    parts = {"images": webp(smooth_pixels(3, seed=0)), "targets": int8(torch.randn(3, 2))}
    tensors, codes = pack(parts)
    mixed = {**tensors, "mean": torch.zeros(3)}
    found = unpack(mixed, codes)
    assert list(mixed) == ["mean"]
    for name, part in parts.items():
        assert torch.equal(found[name].decode(), part.decode())


def test_a_code_of_a_later_version_is_refused() -> None:
    with pytest.raises(DecoctError, match="'jpeg2000', which this version does not know"):
        unpack({}, {"images": "jpeg2000"})
