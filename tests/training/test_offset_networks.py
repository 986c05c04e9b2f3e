"""The networks of turned targets are those that plain training gives, one view at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from decoct.core import seeding
from decoct.core.errors import DivergedError
from decoct.training.offset_networks import fit_offsets


def data() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(20, 5, generator=draws), torch.randn(3, 20, 5, generator=draws)


def test_they_are_trained_by_adam_one_view_at_a_time() -> None:
    x, offsets = data()
    found = fit_offsets(x, offsets, hidden=4, epochs=30, lr=0.01, seed=3)(x)
    with seeding.seeded(3, "offset networks"):
        first = [nn.Linear(5, 4) for _ in range(3)]
        last = [nn.Linear(4, 5) for _ in range(3)]
    for view in range(3):
        network = nn.Sequential(first[view], nn.ReLU(), last[view])
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(30):
            optimiser.zero_grad()
            (network(x) - offsets[view]).square().mean().backward()
            optimiser.step()
        assert torch.allclose(found[view], network(x), atol=1e-5)


def test_they_learn_and_depend_on_the_seed_alone() -> None:
    x, _ = data()
    offsets = torch.stack([2 * x, -x, x.roll(1, 1)])
    found = fit_offsets(x, offsets, hidden=16, epochs=1000, lr=0.01, seed=0)
    assert (found(x) - offsets).square().mean() < 0.01 * offsets.square().mean()
    torch.manual_seed(5)
    again = fit_offsets(x, offsets, hidden=16, epochs=1000, lr=0.01, seed=0)
    assert all(torch.equal(t, again.tensors()[name]) for name, t in found.tensors().items())
    assert not any(t.requires_grad for t in found.tensors().values())


def test_divergence_is_an_error() -> None:
    x, offsets = data()
    with pytest.raises(DivergedError, match="diverged"):
        fit_offsets(x, offsets * math.inf, hidden=4, epochs=2, lr=0.01, seed=0)
