"""The closed form against enumeration, pairs written plainly, and batches through autograd."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.studies.variance import linear_losses
from decoct.studies.variance.linear_losses import GradientMoments, SpectralContrastive, SquaredError
from decoct.studies.variance.linear_model import (
    flattened,
    linear_model_table,
    linear_model_variance,
    theorem_data,
)

Loss = SquaredError | SpectralContrastive
KINDS = ("squared error", "views", "no augmentation")


def _normal(*shape: int, seed: int) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


def _loss(kind: str, count: int, *, inputs: int = 4, outputs: int = 3) -> tuple[Loss, Tensor]:
    """A loss on random images that are not centred, and weights."""
    images = 0.5 + _normal(count, inputs, seed=1)
    weights = _normal(outputs, inputs, seed=2) / 2
    if kind == "squared error":
        return SquaredError(images, _normal(count, outputs, seed=3)), weights
    views = images + _normal(count, inputs, seed=4) / 2 if kind == "views" else images
    return SpectralContrastive(images, views), weights


def _gradients(loss: Loss, weights: Tensor, batches: Tensor) -> Tensor:
    """By autograd: a flat gradient for each row of indices."""
    return vmap(grad(loss.on_batch), in_dims=(None, 0))(weights, batches).flatten(1)


def _spread(gradients: Tensor) -> float:
    """Trace of the covariance of equally likely gradients."""
    return float((gradients - gradients.mean(0)).square().sum(1).mean())


def _plainly(loss: Loss, weights: Tensor) -> GradientMoments:
    """By definition: h(i, j) is the gradient of a batch of two, computed for all n^2 batches."""
    count = len(loss.images)
    pairs = torch.tensor(list(itertools.product(range(count), repeat=2)))
    h = _gradients(loss, weights, pairs)
    of_one = h.view(count, count, -1).mean(1)  # E[h | i]
    mean = h.mean(0).view_as(weights)
    return GradientMoments(mean, single=_spread(of_one), pair=_spread(h))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 3), (5, 1), (30, 7)])
def test_it_equals_all_pairs_written_plainly(kind: str, shape: tuple[int, int]) -> None:
    loss, weights = _loss(kind, shape[0], outputs=shape[1])
    found, expected = loss.moments(weights), _plainly(loss, weights)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-10, atol=1e-12)
    assert found.single == pytest.approx(expected.single, rel=1e-10)
    assert found.pair == pytest.approx(expected.pair, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "batch"), [(6, 2), (5, 3), (4, 4)])
def test_it_equals_the_variance_over_every_batch(kind: str, count: int, batch: int) -> None:
    loss, weights = _loss(kind, count)
    every = torch.tensor(list(itertools.product(range(count), repeat=batch)))
    found, gradients = loss.moments(weights), _gradients(loss, weights, every)
    assert found.variance(batch) == pytest.approx(_spread(gradients), rel=1e-10)
    torch.testing.assert_close(found.mean.flatten(), gradients.mean(0))


@pytest.mark.parametrize("kind", KINDS)
def test_simulated_batches_vary_as_much(kind: str) -> None:
    loss, weights = _loss(kind, 200)
    draws, batch, repeats = torch.Generator().manual_seed(5), 12, 20_000
    index = torch.randint(200, (repeats, batch), generator=draws)
    found = loss.moments(weights)
    squares = (_gradients(loss, weights, index) - found.mean.flatten()).square().sum(1)
    error = float(squares.std()) / math.sqrt(repeats)
    assert error < 0.03 * found.variance(batch)
    assert abs(float(squares.mean()) - found.variance(batch)) < 4 * error


def test_the_squared_errors_variance_falls_as_one_by_the_batch() -> None:
    loss, weights = _loss("squared error", 20)
    alone = _spread(_gradients(loss, weights, torch.arange(20)[:, None]))
    for batch in (2, 3, 50):
        assert loss.moments(weights).variance(batch) == pytest.approx(alone / batch, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_losses_gradient_is_the_batches_mean(kind: str) -> None:
    loss, weights = _loss(kind, 9)
    torch.testing.assert_close(grad(loss.on_all)(weights), loss.moments(weights).mean)


def test_images_that_differ_in_sign_alone_have_one_contrastive_gradient() -> None:
    images = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    moments = SpectralContrastive(images, images).moments(_normal(2, 2, seed=0))
    assert moments.variance(2) == pytest.approx(0, abs=1e-9 * moments.signal)


def test_a_rotation_of_the_images_changes_nothing() -> None:
    loss, weights = _loss("views", 15)
    turn = torch.linalg.qr(_normal(4, 4, seed=6)).Q
    turned = SpectralContrastive(loss.images @ turn, loss.positives @ turn)
    found, same = loss.moments(weights), turned.moments(weights @ turn)
    assert same.variance(8) == pytest.approx(found.variance(8), rel=1e-10)
    torch.testing.assert_close(same.mean, found.mean @ turn)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, weights = _loss("views", 31)
    whole = loss.moments(weights)
    monkeypatch.setattr(linear_losses, "_BLOCK", 4 * 31)
    assert loss.moments(weights).pair == pytest.approx(whole.pair, rel=1e-12)


@pytest.mark.parametrize("kind", ["views", "no augmentation"])
def test_no_weights_have_a_smaller_contrastive_loss(kind: str) -> None:
    loss, _ = _loss(kind, 40, inputs=5)
    for outputs in (1, 3, 8):
        weights = _normal(outputs, 5, seed=7).requires_grad_()
        optimiser = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

        def closure(w: Tensor = weights, o: torch.optim.LBFGS = optimiser) -> Tensor:
            o.zero_grad()
            loss.on_all(w).backward()
            return loss.on_all(w).detach()

        optimiser.step(closure)
        assert loss.on_all(weights).item() == pytest.approx(loss.least(outputs), abs=1e-4)


def test_without_augmentation_the_least_loss_counts_directions() -> None:
    loss, _ = _loss("no augmentation", 40, inputs=5)
    assert loss.least(3) == pytest.approx(-3)
    assert loss.least(8) == pytest.approx(-5)


def test_training_goes_as_far_as_it_is_asked_to() -> None:
    images, targets = theorem_data(classes=3, per_class=30, dimensions=6)
    progress = (0.99, 0.0, 0.5)
    rows = linear_model_variance(images=images, targets=targets, progress=progress)
    assert len(rows) == 2 * 3 * 3
    for name in ("squared error", "contrastive"):
        steps = [row.step for row in rows if row.loss == name and row.batch == 16]
        assert steps[0] == 0 and steps == sorted(set(steps))
        ratios = [row.noise_to_signal for row in rows if row.loss == name and row.batch == 16]
        assert ratios[-1] > ratios[0]  # the mean goes to zero, the noise does not
    table = linear_model_table(rows)
    assert len(table) == 1 + 3 * 3 and table[1].startswith("0%")


def test_both_losses_start_from_the_same_weights_and_a_seed_decides() -> None:
    images, targets = theorem_data(classes=3, per_class=10, dimensions=5)
    first = [linear_model_variance(images=images, targets=targets, seed=s) for s in (0, 0, 1)]
    assert first[0] == first[1] != first[2]


def test_the_theorems_data() -> None:
    images, targets = theorem_data(classes=4, per_class=2, dimensions=6, noise=0)
    assert targets.sum(0).tolist() == [2, 2, 2, 2]
    expected = 6 * targets @ targets.T  # orthogonal means of length sqrt(d)
    torch.testing.assert_close(images @ images.T, expected)
    noisy, _ = theorem_data(classes=4, per_class=2000, dimensions=6, noise=0.5)
    assert float(noisy[:2000].var(0).mean().sqrt()) == pytest.approx(0.5, rel=0.05)


def test_real_images_with_a_teachers_targets(tiny_images: Images) -> None:
    x = flattened(tiny_images, 6)
    torch.testing.assert_close(x.square().mean(), torch.tensor(1.0))
    rows = linear_model_variance(
        images=x, targets=_normal(40, 2, seed=8), positives=x + 0.1, batches=[4], progress=[0.5]
    )
    assert all(0 < row.noise_to_signal < float("inf") for row in rows)


ONES = torch.ones(6, 3)
BAD = [
    ({"targets": torch.ones(5, 2)}, r"one per image; they are \(6, 3\) and \(5, 2\)"),
    ({"images": torch.ones(6)}, "images must be n x d"),
    ({"positives": torch.ones(6, 2)}, "give one view for each image"),
    ({"images": ONES / 0}, "finite numbers"),
    ({"images": ONES[:1], "targets": ONES[:1]}, "at least 2 images"),
    ({"batches": [1, 8]}, "at least 2 each"),
    ({"progress": [1.0]}, "from 0 to below 1"),
    ({"positives": torch.eye(3)[:1].expand(6, 3)}, "directions that no image has"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_input_that_cannot_be(wrong: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DecoctError, match=message):
        linear_model_variance(**{"images": ONES, "targets": ONES, **wrong})


def test_more_classes_than_dimensions() -> None:
    with pytest.raises(DecoctError, match="4 classes of 5 images have no orthogonal means in 3"):
        theorem_data(classes=4, per_class=5, dimensions=3)


def test_descent_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoct.studies.variance.linear_model._MOST_STEPS", 2)
    images, targets = theorem_data(classes=3, per_class=10, dimensions=5)
    with pytest.raises(DecoctError, match="after 2 steps of gradient descent"):
        linear_model_variance(images=images, targets=targets, progress=[0.999])
