"""What the matching loop draws, the rate that it begins with, and the settings that it refuses."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from decoct.artefacts.placed import Placed
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.matching import loop
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.loop import MatchingConfig, draw_batches, search_inner_lr
from decoct.matching.synthetic import Synthetic

INDEX = torch.tensor([1, 4, 7, 10, 13, 16, 19, 22])
CPU = torch.device("cpu")
CONFIG = MatchingConfig(inner_steps=3, expert_epochs=2, max_start_epoch=1, batch=4)


# Draws


@given(
    count=st.integers(1, 30),
    batch=st.integers(1, 12),
    steps=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_batches_use_every_image_once_before_a_reshuffle(
    count: int, batch: int, steps: int, seed: int
) -> None:
    config = replace(CONFIG, batch=batch, inner_steps=steps)
    batches = draw_batches(count, config, torch.Generator().manual_seed(seed), CPU)
    assert len(batches) == steps
    assert all(1 <= len(b) <= batch for b in batches)
    rounds = -(-count // batch)
    for first in range(0, steps, rounds):
        once = torch.cat(batches[first : first + rounds]).tolist()
        assert len(set(once)) == len(once)
        if first + rounds <= steps:
            assert sorted(once) == list(range(count))


# The first rate


@pytest.mark.parametrize("minimum", [0.03, 0.1, 0.3, 1.0, 5.0])
def test_search_finds_the_minimum_of_a_parabola_in_log_rate(minimum: float) -> None:
    found = loop.minimum_by_doubling(
        lambda x: 0.2 + math.log(x / minimum) ** 2, first=0.02, doublings=10
    )
    assert found == pytest.approx(minimum, rel=1e-9)


def test_search_does_not_step_into_rates_that_diverge() -> None:
    found = loop.minimum_by_doubling(
        lambda x: math.nan if x > 0.5 else 1 - x, first=0.02, doublings=10
    )
    assert 0.16 <= found <= 0.5


@pytest.fixture
def line(tmp_path: Path) -> Trajectories:
    """One expert of two epochs, along a straight line of which the goal is 0.4 x 3 steps away."""
    direction = torch.tensor([3.0, -1.0, 2.0])
    path = torch.stack([torch.zeros(3), 0.6 * direction, 1.2 * direction])
    file = tmp_path / "00000.safetensors"
    tensors = {"parameters": path, "losses": torch.ones(2)}
    meta = {"expert": 0, "seed": 0, "config": {"network": {}}}
    storage.save_tensors(file, tensors, kind="expert", meta=meta)
    return Trajectories((file,))


def test_search_finds_the_rate_that_lands_on_the_goal(
    line: Trajectories, tiny_images: Images, tiny_targets: Targets
) -> None:
    # Of a constant gradient, three steps at a rate r go 3 r along the line: 0.4 is the minimum.
    direction = torch.tensor([3.0, -1.0, 2.0])

    def loss(theta: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        return -(theta @ direction)

    synthetic = Synthetic(
        tiny_images.normalised(INDEX),
        tiny_targets.values[INDEX],
        optimiser="sgd",
        lr_images=1.0,
        lr_targets=1.0,
        lr_log_lr=1.0,
        momentum=0.0,
    )
    experts = Placed(line, like=synthetic.images, memory=0.0)
    found = search_inner_lr(InnerGradient.by_autograd(loss), synthetic, experts, CONFIG, seed=0)

    def value(rate: float) -> float:
        return (1 - rate / 0.4) ** 2

    assert found == pytest.approx(0.4, rel=0.25)  # between doublings, from a parabola
    assert all(value(found) <= value(0.02 * 2**i) for i in range(10))


# Bad settings


@pytest.mark.parametrize(
    "name",
    [
        "iterations",
        "inner_steps",
        "expert_epochs",
        "max_start_epoch",
        "batch",
        "experts_per_step",
        "checkpoint_every",
    ],
)
def test_counts_below_one_are_refused_by_name(name: str) -> None:
    with pytest.raises(DecoctError, match=rf"matching\.{name} is 0; it must be at least 1"):
        MatchingConfig(**{name: 0})


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(DecoctError, match=r"matching\.inner_lr is -0.1"):
        MatchingConfig(inner_lr=-0.1)
