"""The target-probe error matches textbook ridge regression: 0 for perfect features, 1 for none."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.images import Images
from decoct.evaluation.target_probe import target_probe_error
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig

COUNT, FEATURES, KNOWN = 120, 5, 80
PENALTIES = [10.0**e for e in range(-2, 6)]


@pytest.fixture(scope="module")
def images() -> Images:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (COUNT, 3, 4, 4), generator=draws, dtype=torch.uint8)
    return Images.from_array(pixels)


@pytest.fixture(scope="module")
def encoder(images: Images) -> Encoder:
    """A few features, linear in the pixels."""
    layer = nn.Linear(48, FEATURES)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(FEATURES, 48, generator=torch.Generator().manual_seed(1)))
    network = Network(nn.Sequential(nn.Flatten(), layer), features=FEATURES, outputs=1)
    return Encoder(
        network=network.eval(), config=NetworkConfig(), size=4, mean=images.mean, std=images.std
    )


def targets_of(values: Tensor) -> Targets:
    return fit_targets(values, TargetsConfig(scaling="none"))


def error_of(encoder: Encoder, images: Images, values: Tensor, **more: Any) -> float:
    rows = torch.arange(COUNT)
    settings = {"known": rows[:KNOWN], "left_out": rows[KNOWN:]} | more
    return target_probe_error(
        encoder=encoder, images=images, targets=targets_of(values), **settings
    )


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Mapped(Encoder):
    """An encoder whose features something is done to."""

    change: Callable[[Tensor], Tensor] = torch.clone

    def embed(self, images: Images, **more: Any) -> Tensor:
        return self.change(super().embed(images, **more))


def mapped(encoder: Encoder, change: Callable[[Tensor], Tensor]) -> Encoder:
    return Mapped(**vars(encoder), change=change)


def test_features_that_determine_the_targets_linearly_leave_no_error(
    encoder: Encoder, images: Images
) -> None:
    features = encoder.embed(images, device="cpu")
    values = features @ noise(FEATURES, 3) + torch.tensor([1.0, -20.0, 3.0])
    assert 0 <= error_of(encoder, images, values) < 1e-4


def test_features_that_say_nothing_leave_all_of_it(encoder: Encoder, images: Images) -> None:
    # Independent: the penalty that leave-one-out chooses makes them count for little.
    errors = [error_of(encoder, images, noise(COUNT, 40, seed=s)) for s in range(3)]
    assert all(0.9 < error < 1.15 for error in errors)


def test_half_of_the_variance_leaves_half(encoder: Encoder, images: Images) -> None:
    features = encoder.embed(images, device="cpu")
    features = (features - features.mean(0)) / features.std(0)
    signal = features @ torch.linalg.qr(noise(FEATURES, FEATURES))[0]
    values = signal.repeat(1, 8) + noise(COUNT, 8 * FEATURES)
    assert error_of(encoder, images, values) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1e4])
def test_the_scale_of_features_does_not_matter(
    scale: float, encoder: Encoder, images: Images
) -> None:
    values = encoder.embed(images, device="cpu")[:, :3].tanh() + noise(COUNT, 3)
    plain = error_of(encoder, images, values)
    assert error_of(mapped(encoder, lambda x: scale * x), images, values) == pytest.approx(
        plain, rel=1e-3
    )
    stretch = torch.logspace(-2, 2, FEATURES)  # each on a scale of its own, and moved
    moved = mapped(encoder, lambda x: stretch * x + 5)
    assert error_of(moved, images, values) == pytest.approx(plain, rel=1e-3)
    assert error_of(encoder, images, scale * values + 2) == pytest.approx(plain, rel=1e-3)


def test_a_feature_that_never_changes_does_no_harm(encoder: Encoder, images: Images) -> None:
    values = noise(COUNT, 3) + encoder.embed(images, device="cpu")[:, :3]
    constant = mapped(encoder, lambda x: torch.cat([x, torch.full((len(x), 2), 7.0)], 1))
    assert error_of(constant, images, values) == pytest.approx(
        error_of(encoder, images, values), rel=1e-4
    )


def ridge(x: Tensor, y: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
    """Ridge regression with an intercept, by its normal equations."""
    centre, level = x.mean(0), y.mean(0)
    gram = (x - centre).T @ (x - centre) + penalty * torch.eye(x.shape[1]).double()
    weights = torch.linalg.solve(gram, (x - centre).T @ (y - level))
    return lambda new: (new - centre) @ weights + level


def test_it_is_ridge_regression_with_the_penalty_of_least_leave_one_out_error(
    encoder: Encoder, images: Images
) -> None:
    features = encoder.embed(images, device="cpu")
    values = features[:, :3].tanh() + 2 * noise(COUNT, 3)
    known = torch.arange(20)
    mean, std = features[known].mean(0), features[known].std(0)
    x, y = ((features - mean) / std).double(), values.double()

    def left_one_out(penalty: float) -> float:
        rests = [known[known != i] for i in known]
        pairs = zip(known, rests, strict=True)
        errors = [y[i] - ridge(x[rest], y[rest], penalty)(x[i]) for i, rest in pairs]
        return float(torch.stack(errors).square().mean())

    best = min(PENALTIES, key=left_one_out)
    left_out = torch.arange(KNOWN, COUNT)
    error = y[left_out] - ridge(x[known], y[known], best)(x[left_out])
    share = error.square().sum() / (y[left_out] - y[left_out].mean(0)).square().sum()
    got = error_of(encoder, images, values, known=known, left_out=left_out)
    assert got == pytest.approx(float(share), rel=1e-3)


def test_so_many_rows_are_looked_at_and_no_more(encoder: Encoder, images: Images) -> None:
    looked: list[int] = []

    def count(x: Tensor) -> Tensor:
        looked.append(len(x))
        return x

    values = noise(COUNT, 3)
    spy = mapped(encoder, count)
    few = error_of(spy, images, values, most=30)
    assert looked == [30, COUNT - KNOWN]
    assert few == error_of(encoder, images, values, most=30)  # the same rows each time
    assert few != error_of(encoder, images, values, most=30, seed=1)
    # All of them, where that is fewer; and those alone.
    spoilt = values.clone()
    spoilt[:40] = 1e6
    known = torch.arange(40, KNOWN)
    assert error_of(encoder, images, values, known=known) == pytest.approx(
        error_of(encoder, images, spoilt, known=known), rel=1e-5
    )


@pytest.mark.parametrize("count", [0, 1])
def test_where_nothing_is_left_out_it_is_refused(
    count: int, encoder: Encoder, images: Images
) -> None:
    with pytest.raises(DecoctError, match=f"{count} pool images are held out.*images.holdout"):
        error_of(encoder, images, noise(COUNT, 3), left_out=torch.arange(count))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_divergence(
    value: float, encoder: Encoder, images: Images
) -> None:
    broken = mapped(encoder, lambda x: torch.where(x > 1, value, x))
    with pytest.raises(DivergedError, match="features are not finite"):
        error_of(broken, images, noise(COUNT, 3))


def test_an_encoder_is_judged_as_it_is(encoder: Encoder, images: Images) -> None:
    """Its own normalisation comes before its network's weights."""
    values = encoder.embed(images, device="cpu")[:, :2]
    brighter = images.with_statistics(images.mean + 0.2, images.std * 2)
    assert error_of(encoder, brighter, values) == error_of(encoder, images, values)
    assert error_of(replace(encoder, mean=encoder.mean + 1), images, values) < 1e-4  # only moved
