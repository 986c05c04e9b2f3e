"""What every method that chooses by the targets has to keep."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from decoct.core.errors import DecoctError

Choose = Callable[..., Tensor]
DRAWS = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))


def assert_distinct(found: Tensor, *, count: int, total: int) -> None:
    assert found.dtype == torch.int64
    assert len(found) == count
    assert bool((found.diff() > 0).all())  # sorted, and none twice
    assert 0 <= int(found[0]) <= int(found[-1]) < total


@pytest.mark.parametrize("count", [1, 2, 7, 59, 60])
def test_as_many_distinct_images_as_asked_for(choose: Choose, count: int) -> None:
    assert_distinct(choose(DRAWS, count), count=count, total=60)


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(40, 3),
        torch.zeros(40, 3),  # which has no direction
        torch.eye(3).repeat(14, 1)[:40],
        torch.cat([torch.randn(2, 3), torch.randn(1, 3).expand(38, 3)]),
    ],
    ids=["one", "zero", "three", "two and many"],
)
def test_duplicates_are_as_distinct(choose: Choose, values: Tensor) -> None:
    for count in (1, 10, 40):
        assert_distinct(choose(values, count), count=count, total=40)


def test_a_seed_decides(choose: Choose) -> None:
    assert torch.equal(choose(DRAWS, 9, seed=3), choose(DRAWS, 9, seed=3))
    assert any(not torch.equal(choose(DRAWS, 9), choose(DRAWS, 9, seed=s)) for s in range(1, 6))


def test_a_seed_leaves_other_draws_alone(choose: Choose) -> None:
    state = torch.get_rng_state()
    choose(DRAWS, 9)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("count", [0, 61])
def test_a_size_that_cannot_be(choose: Choose, count: int) -> None:
    with pytest.raises(DecoctError, match=f"{count} images cannot be chosen from 60"):
        choose(DRAWS, count)
