"""Pictures from a seed: the same at every call, all different, and no mere grey."""

from typing import get_args

import pytest
import torch

from decoct.data.procedural import Kind, procedural_pictures


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28), (3, 8)])
def test_pictures_have_the_shape_and_some_content(kind: Kind, channels: int, size: int) -> None:
    pixels = procedural_pictures(kind, count=9, channels=channels, size=size, seed=1)
    assert pixels.shape == (9, channels, size, size) and pixels.dtype == torch.uint8
    again = procedural_pictures(kind, count=9, channels=channels, size=size, seed=1)
    assert torch.equal(pixels, again)
    values = pixels.float()
    assert bool((values.flatten(1).std(1) > 5).all())
    assert len(pixels.flatten(1).unique(dim=0)) == 9


@pytest.mark.parametrize("kind", get_args(Kind))
def test_neighbouring_pixels_resemble_each_other(kind: Kind) -> None:
    """As those of photographs do, and those of white noise do not."""
    values = procedural_pictures(kind, count=32, seed=0).float()
    across = (values[..., 1:] - values[..., :-1]).square().mean()
    assert across < values.var()


def test_the_global_generator_has_no_say() -> None:
    torch.manual_seed(0)
    one = procedural_pictures("generator", count=2, seed=5)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    assert torch.equal(one, procedural_pictures("generator", count=2, seed=5))
    assert torch.equal(state, torch.random.get_rng_state())
