"""The SSL losses, against sums done by hand, symmetries, and lightly's."""

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from decoct.training.losses.barlow_twins import barlow_twins_loss
from decoct.training.losses.simclr import simclr_loss
from decoct.training.losses.spectral_contrastive import spectral_contrastive_loss
from decoct.training.losses.vicreg import vicreg_loss

Loss = Callable[..., Tensor]
LOSSES = pytest.mark.parametrize(
    "loss", [barlow_twins_loss, simclr_loss, vicreg_loss, spectral_contrastive_loss]
)


def views(batch: int = 8, dimensions: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, dimensions, dtype=torch.float64, generator=draws)
    noise = torch.randn(batch, dimensions, dtype=torch.float64, generator=draws)
    return first, first + 0.5 * noise


def rotation(dimensions: int = 5) -> Tensor:
    draws = torch.Generator().manual_seed(9)
    return torch.linalg.qr(
        torch.randn(dimensions, dimensions, dtype=torch.float64, generator=draws)
    ).Q


# All


@LOSSES
def test_gradient_is_the_derivative(loss: Loss) -> None:
    first, second = (z.requires_grad_() for z in views(5, 3))
    assert torch.autograd.gradcheck(loss, (first, second))


@LOSSES
def test_views_may_change_places(loss: Loss) -> None:
    first, second = views()
    assert float(loss(first, second)) == pytest.approx(float(loss(second, first)), rel=1e-12)


@LOSSES
def test_the_order_of_the_images_and_dimensions_does_not_matter(loss: Loss) -> None:
    first, second = views()
    images, dimensions = torch.tensor([3, 1, 7, 0, 2, 5, 4, 6]), torch.tensor([4, 2, 0, 1, 3])
    shuffled = loss(first[images][:, dimensions], second[images][:, dimensions])
    assert float(shuffled) == pytest.approx(float(loss(first, second)), rel=1e-12)


@LOSSES
def test_pairs_that_belong_together_cost_less_than_strangers(loss: Loss) -> None:
    first, second = views()
    assert float(loss(first, second)) < float(loss(first, second.roll(1, 0)))


# Barlow Twins


def test_barlow_twins_by_hand() -> None:
    # Two dimensions with values +-1: standardising changes nothing (but for 1e-5 in the root).
    first = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    second = torch.tensor([[1.0, 1], [1, 1], [-1, 1], [-1, -3]], dtype=torch.float64)
    # second: column 0 as first's; column 1 has mean 0, variance 3.
    # C_00 = 1, C_10 = 0, C_01 = (1 + 1 - 1 + 3) / (4 sqrt 3) = 1 / sqrt 3, C_11 = 1 / sqrt 3.
    root = 1 / math.sqrt(3)
    expected = (1 - root) ** 2 + 0.25 * root**2
    got = float(barlow_twins_loss(first, second, redundancy=0.25))
    assert got == pytest.approx(expected, rel=1e-4)


def test_barlow_twins_of_collapsed_dimensions_by_hand() -> None:
    # D equal columns: the cross-correlation is 1 everywhere.
    column = torch.tensor([[2.0], [-1], [-1], [0]], dtype=torch.float64)
    z = column.expand(4, 3)
    assert float(barlow_twins_loss(z, z)) == pytest.approx(5e-3 * 6, rel=1e-3)


def test_barlow_twins_of_opposite_views_by_hand() -> None:
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert float(barlow_twins_loss(z, -z)) == pytest.approx(2 * 2**2, rel=1e-4)


def test_barlow_twins_does_not_see_shift_and_scale_of_a_dimension() -> None:
    first, second = (100 * z for z in views())  # far above the 1e-5 in the root
    scale = torch.tensor([1.0, 2, 5, 10, 3], dtype=torch.float64)
    moved = barlow_twins_loss(first * scale + 7, second + scale)
    assert float(moved) == pytest.approx(float(barlow_twins_loss(first, second)), rel=1e-5)


# SimCLR


def test_simclr_by_hand() -> None:
    # Two images in two dimensions: every view's partner at cosine c, strangers at 0 and s.
    angle = 0.3
    first = torch.eye(2, dtype=torch.float64)
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    second = torch.tensor(turn, dtype=torch.float64)
    c, s = math.exp(math.cos(angle) / 0.5), math.sin(angle) / 0.5
    # Strangers of first_0: first_1 at 0, second_1 at -sin; of first_1: first_0 at 0, second_0
    # at sin; of the second views the same.
    minus, plus = (-math.log(c / (c + 1 + math.exp(x))) for x in (-s, s))
    expected = (2 * minus + 2 * plus) / 4
    assert float(simclr_loss(first, second, temperature=0.5)) == pytest.approx(expected, rel=1e-12)


def test_simclr_of_identical_embeddings_is_a_guess_among_all_others() -> None:
    z = torch.ones(6, 4, dtype=torch.float64)
    assert float(simclr_loss(z, z)) == pytest.approx(math.log(2 * 6 - 1), rel=1e-12)


def test_simclr_does_not_see_lengths_and_rotations() -> None:
    first, second = views()
    lengths = torch.linspace(0.1, 10, 8, dtype=torch.float64)[:, None]
    turned = simclr_loss(first @ rotation() * lengths, 3 * second @ rotation())
    assert float(turned) == pytest.approx(float(simclr_loss(first, second)), rel=1e-12)


def test_simclr_falls_with_the_temperature_where_pairs_are_nearest() -> None:
    z = torch.eye(6, dtype=torch.float64)
    losses = [float(simclr_loss(z, z, temperature=t)) for t in (0.1, 0.5, 1.0)]
    expected = [-math.log(math.exp(1 / t) / (math.exp(1 / t) + 10)) for t in (0.1, 0.5, 1.0)]
    assert losses == pytest.approx(expected, rel=1e-9)


# VICReg


def test_vicreg_by_hand() -> None:
    first = torch.tensor([[0.0, 0], [0.4, 0.2], [0.2, 0.4]], dtype=torch.float64)
    second = first + torch.tensor([0.3, 0.0], dtype=torch.float64)
    # Each dimension: mean 0.2, deviations -0.2, 0.2, 0: variance 0.08 / 2 = 0.04; covariance
    # (0.04 + 0 + 0) / 2 = 0.02 off the diagonal, twice, over D = 2. Both views have the same.
    invariance = 0.3**2 / 2
    hinge = 1 - math.sqrt(0.04 + 1e-4)
    covariance = 2 * 0.02**2 / 2
    got = vicreg_loss(first, second, invariance=3.0, variance=5.0, covariance=7.0)
    assert float(got) == pytest.approx(3 * invariance + 5 * hinge + 14 * covariance, rel=1e-12)


def test_vicreg_of_collapse_is_the_variance_term_alone() -> None:
    z = torch.ones(6, 4, dtype=torch.float64)
    assert float(vicreg_loss(z, z)) == pytest.approx(25 * (1 - 0.01), rel=1e-12)


def test_vicreg_does_not_see_a_common_shift() -> None:
    first, second = views()
    moved = vicreg_loss(first + 3, second + 3)
    assert float(moved) == pytest.approx(float(vicreg_loss(first, second)), rel=1e-10)


def test_vicregs_covariance_grows_with_the_fourth_power_of_the_scale() -> None:
    first, _ = views()
    small, large = (
        float(vicreg_loss(z, z, variance=0.0, invariance=0.0)) for z in (first, 2 * first)
    )
    assert large == pytest.approx(16 * small, rel=1e-12)


# Spectral contrastive


def test_spectral_contrastive_is_the_sum_over_pairs_one_by_one() -> None:
    first, second = views(5, 3)
    agreement = sum(float(a @ b) for a, b in zip(first, second, strict=True)) / 5
    squares = [
        float(one[i] @ other[j]) ** 2
        for one in (first, second)
        for other in (first, second)
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    expected = sum(squares) / len(squares) - 2 * agreement
    assert float(spectral_contrastive_loss(first, second)) == pytest.approx(expected, rel=1e-12)


def test_spectral_contrastive_of_a_batch_is_unbiased() -> None:
    """The mean over all batches of 3 of 6 images is the loss of all 6."""
    first, second = views(6, 4)
    batches = [list(index) for index in combinations(range(6), 3)]
    values = [float(spectral_contrastive_loss(first[i], second[i])) for i in batches]
    expected = float(spectral_contrastive_loss(first, second))
    assert sum(values) / len(values) == pytest.approx(expected, rel=1e-12)


def test_spectral_contrastive_does_not_see_rotations() -> None:
    first, second = views()
    turned = spectral_contrastive_loss(first @ rotation(), second @ rotation())
    expected = float(spectral_contrastive_loss(first, second))
    assert float(turned) == pytest.approx(expected, rel=1e-12)


def test_spectral_contrastive_by_hand() -> None:
    z = 5**0.5 * torch.eye(5, dtype=torch.float64)  # |z|^2 = 5: strangers at 0, partners at 5
    assert float(spectral_contrastive_loss(z, z)) == pytest.approx(-10, rel=1e-12)


# lightly


@pytest.mark.parametrize(
    "ours, theirs, arguments",
    [
        (barlow_twins_loss, "BarlowTwinsLoss", {}),
        (simclr_loss, "NTXentLoss", {"temperature": 0.5}),
        (vicreg_loss, "VICRegLoss", {}),
    ],
)
@pytest.mark.parametrize("shape", [(8, 5), (3, 12), (64, 2)])
def test_losses_are_lightlys(
    ours: Loss, theirs: str, arguments: dict[str, float], shape: tuple[int, int]
) -> None:
    import lightly.loss  # slow to import

    other = getattr(lightly.loss, theirs)(**arguments)
    first, second = views(*shape)
    assert float(ours(first, second)) == pytest.approx(float(other(first, second)), rel=1e-9)
