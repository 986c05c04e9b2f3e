"""The spread of trajectories: closed forms, invariances, and a plain jackknife."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.studies.variance.spread import spread_by_epoch
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts_by


def runs(moved: Tensor, start: Tensor | None = None) -> Trajectories:
    """Of displacements K x P after one epoch."""
    start = torch.zeros(moved.shape[1]) if start is None else start
    found = {k: torch.stack([start, start + row]) for k, row in enumerate(moved)}
    return Trajectories(tuple(Path(str(k)) for k in found), found)


def test_by_hand() -> None:
    (found,) = spread_by_epoch(runs(torch.tensor([[3.0, 1.0], [3.0, -1.0]])))
    # The mean is (3, 0); both are 1 away from it, over K - 1 = 1.
    assert found.ratio == pytest.approx(2 / 9) and found.cosine == pytest.approx(8 / 10)
    assert (found.epoch, found.runs, found.error) == (1, 2, 0.0)


def test_equal_draws_do_not_spread() -> None:
    (found,) = spread_by_epoch(runs(torch.tensor([[1.0, 2.0, -1.0]]).expand(4, 3)))
    assert found.ratio == pytest.approx(0, abs=1e-12) and found.cosine == pytest.approx(1)


def test_it_sees_neither_rotation_nor_scale_nor_order() -> None:
    draws = torch.Generator().manual_seed(0)
    moved = torch.randn(4, 5, generator=draws) + 1
    turn = torch.linalg.qr(torch.randn(5, 5, generator=draws)).Q
    one, other = (spread_by_epoch(runs(m))[0] for m in (moved, 3 * moved.flip(0) @ turn))
    for what in ("ratio", "cosine", "error"):
        assert getattr(other, what) == pytest.approx(getattr(one, what), rel=1e-4)


def test_its_error_is_the_jackknifes() -> None:
    moved = torch.randn(5, 6, generator=torch.Generator().manual_seed(3)) + 1

    def ratio(rows: Tensor) -> float:
        mean = rows.mean(0)
        return float(rows.var(0).sum() / mean.square().sum())

    left = torch.tensor([ratio(moved[torch.arange(5) != k]) for k in range(5)])
    (found,) = spread_by_epoch(runs(moved))
    assert found.ratio == pytest.approx(ratio(moved), rel=1e-5)
    expected = math.sqrt(4 / 5 * float((left - left.mean()).square().sum()))
    assert found.error == pytest.approx(expected, rel=1e-4)


def test_runs_from_one_start_differ_in_their_draws_alone(
    tiny_images: Images, tiny_targets: Targets, tiny_experts_config: ExpertsConfig, tmp_path: Path
) -> None:
    def train(folder: Path, one_start: bool) -> Trajectories:
        return train_experts_by(
            lambda network, *_: ConvNetGradient(network).gradient,
            images=tiny_images,
            values=tiny_targets.values,
            outputs=tiny_targets.dimensions,
            folder=folder,
            config=tiny_experts_config,
            seed=0,
            device="cpu",
            one_start=one_start,
        )

    alike, apart = train(tmp_path / "alike", True), train(tmp_path / "apart", False)
    assert torch.equal(alike.expert(0), apart.expert(0))
    assert torch.equal(alike.expert(1)[0], alike.expert(0)[0])
    assert not torch.equal(apart.expert(1)[0], apart.expert(0)[0])
    found = spread_by_epoch(alike)
    assert [s.epoch for s in found] == [1, 2, 3]
    assert all(s.ratio > 0 and -1 < s.cosine < 1 for s in found)
