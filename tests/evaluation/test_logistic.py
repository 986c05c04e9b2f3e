"""The solver finds scikit-learn's logistic regression, for many problems at once."""

import numpy as np
import pytest
import scipy.special
import sklearn.linear_model
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoct.evaluation.logistic import Logistic, minimise

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def problem(
    n: int, features: int, classes: int, *, correlated: bool = False, seed: int = 0
) -> tuple[Array, Labels]:
    """Noisy blobs, one a class, that overlap."""
    draws = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = draws.normal(size=(classes, features))[labels] + draws.normal(size=(n, features))
    if correlated:
        x = x @ draws.normal(size=(features, features)) * np.logspace(1, -2, features)
    return x + 3, labels


def fit_logistic(
    x: Array, labels: Labels, *, classes: int, penalty: float, tolerance: float = 1e-8
) -> tuple[Array, Array]:
    """One problem: F x classes weights and the intercepts."""
    one = Logistic(torch.from_numpy(x)[None], torch.from_numpy(labels)[None], classes=classes)
    weights, intercepts = one.fit(torch.tensor([penalty]).double(), tolerance=tolerance)
    return weights[0].numpy(), intercepts[0, 0].numpy()


def objective(weights: Array, intercept: Array, x: Array, labels: Labels, penalty: float) -> float:
    log_p = scipy.special.log_softmax(x @ weights + intercept, axis=1)
    return float(-log_p[np.arange(len(x)), labels].mean() + penalty * (weights**2).sum())


def centred(logits: Array) -> Array:
    """A constant a row says nothing."""
    return logits - logits.mean(1, keepdims=True)


# One problem


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
@pytest.mark.parametrize(
    "n, features, classes, correlated",
    [
        (60, 4, 3, False),
        (12, 30, 3, False),  # fewer examples than features
        (80, 10, 5, True),
        (15, 40, 4, True),
        (40, 1, 3, False),
        (30, 5, 10, False),  # three examples a class
    ],
)
def test_fit_equals_scikit_learns(
    n: int, features: int, classes: int, correlated: bool, penalty: float
) -> None:
    x, labels = problem(n, features, classes, correlated=correlated)
    reference = sklearn.linear_model.LogisticRegression(
        C=1 / (2 * n * penalty), solver="newton-cg", tol=1e-10, max_iter=10000
    ).fit(x, labels)
    expected = (reference.coef_.T, reference.intercept_)
    got = fit_logistic(x, labels, classes=classes, penalty=penalty, tolerance=1e-10)
    assert objective(*got, x, labels, penalty) == pytest.approx(
        objective(*expected, x, labels, penalty), rel=1e-9
    )
    logits = centred(x @ expected[0] + expected[1])
    assert np.abs(centred(x @ got[0] + got[1]) - logits).max() < 1e-4 * np.abs(logits).max()


def test_fit_of_two_classes_is_the_binary_regression_at_half_the_penalty() -> None:
    # Softmax over two classes splits w into w/2 and -w/2: |W|^2 = |w|^2 / 2.
    x, labels = problem(50, 6, 2)
    reference = sklearn.linear_model.LogisticRegression(
        C=1 / (50 * 0.01), solver="newton-cholesky", tol=1e-10, max_iter=1000
    ).fit(x, labels)
    weights, intercept = fit_logistic(x, labels, classes=2, penalty=0.01, tolerance=1e-10)
    difference = x @ (weights[:, 1] - weights[:, 0]) + intercept[1] - intercept[0]
    assert np.allclose(difference, reference.decision_function(x), atol=1e-5)


@pytest.mark.parametrize("n, features", [(60, 5), (10, 25)])
def test_the_gradient_is_zero_at_the_optimum(n: int, features: int) -> None:
    x, labels = problem(n, features, 3, correlated=True)
    weights, intercept = fit_logistic(x, labels, classes=3, penalty=0.01, tolerance=1e-9)
    residual = (scipy.special.softmax(x @ weights + intercept, axis=1) - np.eye(3)[labels]) / n
    assert np.abs(x.T @ residual + 2 * 0.01 * weights).max() < 1e-6
    assert np.abs(residual.sum(0)).max() < 1e-8  # the intercept is not penalised


def test_default_tolerance_is_converged() -> None:
    x, labels = problem(60, 20, 4, correlated=True)
    rough = fit_logistic(x, labels, classes=4, penalty=1e-3)
    exact = fit_logistic(x, labels, classes=4, penalty=1e-3, tolerance=1e-11)
    values = [objective(*w, x, labels, 1e-3) for w in (rough, exact)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_fit_does_not_depend_on_where_the_features_are_or_how_they_are_turned() -> None:
    x, labels = problem(40, 6, 3)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    logits = []
    for moved in (x, x + 100, x @ turn):
        weights, intercept = fit_logistic(moved, labels, classes=3, penalty=0.01, tolerance=1e-10)
        logits.append(centred(moved @ weights + intercept))
    assert np.allclose(logits[0], logits[1], atol=1e-5)
    assert np.allclose(logits[0], logits[2], atol=1e-5)


def test_a_huge_penalty_leaves_the_frequencies_of_the_classes() -> None:
    x, _ = problem(40, 3, 2)
    labels = np.repeat([0, 1, 2], [20, 12, 8])
    weights, intercept = fit_logistic(x, labels, classes=3, penalty=1e6, tolerance=1e-10)
    assert np.abs(weights).max() < 1e-4
    assert np.allclose(scipy.special.softmax(intercept), [0.5, 0.3, 0.2], atol=1e-4)


# Many problems


def batch(sizes: list[int], features: int = 7, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Problems of different sizes, padded with rows of nonsense that are not there."""
    x = torch.full((len(sizes), max(sizes), features), 1e3, dtype=torch.float64)
    labels = torch.full((len(sizes), max(sizes)), -1)
    for i, n in enumerate(sizes):
        one, y = problem(n, features, classes, seed=i)
        x[i, :n], labels[i, :n] = torch.from_numpy(one), torch.from_numpy(y)
    return x, labels


@pytest.mark.parametrize("sizes", [[30, 30, 30], [30, 12, 21], [6, 5, 4]], ids=str)
def test_a_batch_is_as_good_as_one_by_one(sizes: list[int]) -> None:
    x, labels = batch(sizes)
    penalties = torch.tensor([1e-1, 1e-3, 1e-2]).double()
    weights, intercepts = Logistic(x, labels, classes=3).fit(penalties, tolerance=1e-10)
    for i, n in enumerate(sizes):
        expected = fit_logistic(
            x[i, :n].numpy(),
            labels[i, :n].numpy(),
            classes=3,
            penalty=float(penalties[i]),
            tolerance=1e-10,
        )
        assert np.allclose(weights[i].numpy(), expected[0], atol=1e-6)
        assert np.allclose(centred(intercepts[i].numpy()), centred(expected[1][None]), atol=1e-6)


def test_a_path_of_penalties_ends_where_a_fresh_start_does() -> None:
    x, labels = batch([30, 20])
    path = Logistic(x, labels, classes=3)
    for penalty in (1.0, 1e-2, 1e-4):
        weights, _ = path.fit(torch.full((2,), penalty).double(), tolerance=1e-10)
    fresh = Logistic(x, labels, classes=3)
    expected, _ = fresh.fit(torch.full((2,), 1e-4).double(), tolerance=1e-10)
    assert torch.allclose(weights, expected, atol=1e-4)


def test_single_precision_says_nearly_the_same() -> None:
    x, labels = batch([30, 20])
    penalties = torch.full((2,), 1e-2).double()
    expected = Logistic(x, labels, classes=3).fit(penalties)
    got = Logistic(x.float(), labels, classes=3).fit(penalties.float(), tolerance=1e-5)
    for i, n in enumerate((30, 20)):
        logits, close = ((x[i, :n] @ w[i].double() + b[i]).numpy() for w, b in (expected, got))
        assert np.abs(centred(close) - centred(logits)).max() < 1e-3 * np.abs(logits).max()


def test_fits_that_share_features_are_as_good_as_alone() -> None:
    x, labels = batch([30, 12])  # the second's other rows are nonsense
    lines = labels.repeat_interleave(3, 0)
    for i in range(3):  # each fit leaves some rows out
        lines[i::3, i::4] = -1
    penalties = torch.tensor([1e-1, 1e-2, 1e-3]).double().repeat(2)
    shared = Logistic(x, lines, classes=3)
    weights, intercepts = shared.fit(penalties, tolerance=1e-10)
    repeated = Logistic(x.repeat_interleave(3, 0), lines, classes=3)
    expected = repeated.fit(penalties, tolerance=1e-10)
    assert torch.allclose(weights, expected[0], atol=1e-6)
    logits = (x.repeat_interleave(3, 0) @ weights + intercepts).mT
    there = (lines >= 0).unsqueeze(1)
    assert torch.allclose(shared.log_p() * there, logits.log_softmax(1) * there, atol=1e-8)


# The minimiser


def test_functions_of_very_different_curvature_are_minimised_together() -> None:
    curvature = torch.logspace(-3, 3, 12).double().view(2, 6)
    lowest = torch.arange(12.0).double().view(2, 6)

    def bowls(x: Tensor) -> tuple[Tensor, Tensor]:
        slope = curvature * (x - lowest)
        return (slope * (x - lowest)).sum(1) / 2, slope

    found = minimise(bowls, torch.zeros(2, 6).double(), tolerance=1e-10)
    assert torch.allclose(found, lowest, atol=1e-6)


def test_steps_too_long_are_halved_until_they_descend() -> None:
    def steep(x: Tensor) -> tuple[Tensor, Tensor]:  # cosh(4 x): unit steps overshoot from afar
        values, gradient = torch.cosh(4 * x).sum(1), 4 * torch.sinh(4 * x)
        seen.append(values)
        return values, gradient

    seen: list[Tensor] = []
    found = minimise(steep, torch.tensor([[2.0], [0.1], [0.0]]).double(), tolerance=1e-8)
    assert torch.allclose(found, torch.zeros(3, 1).double(), atol=1e-8)
    assert max(float(v[0]) for v in seen) > float(seen[0][0])  # a step was refused


def test_what_is_at_its_minimum_stays_there() -> None:
    start = torch.tensor([[3.0], [5.0]]).double()
    found = minimise(
        lambda x: (
            (x - 3).pow(4).sum(1) + (x - 3).square().sum(1),
            4 * (x - 3).pow(3) + 2 * (x - 3),
        ),
        start,
        tolerance=1e-9,
    )
    assert found[0].item() == 3
    assert found[1].item() == pytest.approx(3, abs=1e-8)
