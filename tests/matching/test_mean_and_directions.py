"""The bases of a pool are its mean and numpy's principal directions."""

import numpy as np
import torch

from decoct.data.images import Images
from decoct.matching.mean_and_directions import (
    coefficients_of,
    pool_bases,
    shrunk,
    shrunk_pool,
)


def test_they_are_numpys_whatever_the_parts() -> None:
    rows = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7) + 3
    found = pool_bases(rows.split(7), 4)
    x = rows.double().numpy()
    _, _, directions = np.linalg.svd(x - x.mean(0))
    assert np.allclose(found[0], x.mean(0), atol=1e-6)
    cosines = (found[1:].double().numpy() * directions[:3]).sum(1)
    assert np.allclose(np.abs(cosines), 1, atol=1e-6)
    assert torch.allclose(found, pool_bases([rows], 4), atol=1e-6)


def test_all_of_them_lose_nothing() -> None:
    rows = torch.randn(9, 4) + 2
    bases = pool_bases([rows], 5)
    coefficients = coefficients_of(rows, bases)
    assert torch.equal(coefficients[:, 0], torch.ones(9))
    assert torch.allclose(coefficients @ bases, rows, atol=1e-5)


def test_fewer_lose_what_the_last_eigenvalues_say() -> None:
    rows = torch.randn(50, 5) * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    bases = pool_bases([rows], 4)  # the mean and three directions
    lost = (coefficients_of(rows, bases) @ bases - rows).square().sum()
    values = np.linalg.svd((rows - rows.mean(0)).numpy(), compute_uv=False) ** 2
    assert np.isclose(float(lost), values[3:].sum(), rtol=1e-4)


def test_a_pool_is_shrunk_part_by_part(tiny_images: Images) -> None:
    found = torch.cat(list(shrunk_pool(tiny_images, 4)))
    expected = shrunk(tiny_images.normalised(), 4).flatten(1)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(shrunk(tiny_images.normalised(), 16), tiny_images.normalised())
