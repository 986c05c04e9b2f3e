"""Linear probes: how far a few labels go on an encoder's features."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.special
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from decoct import seeding
from decoct.console import progress
from decoct.data.tasks import Task, labelled_indices
from decoct.encoder import Encoder
from decoct.errors import DecoctError

_PAPER_PENALTY = 1e-3  # of |W|^2 beside the mean cross-entropy
_PENALTIES = tuple(10.0**e for e in (1, 0, -1, -2, -3, -4))  # cross-validation's grid
_FOLDS = 5

Array = NDArray[np.floating]


@dataclass(frozen=True)
class ProbeConfig:
    """Which labels a probe sees, and how it is fitted.

    `standard` standardises the features and chooses the penalty by cross-validation, both on the
    labelled examples alone; `paper` takes raw features and the published penalty.
    """

    protocol: str = "standard"
    fractions: tuple[float, ...] = (0.05, 0.2)  # of each class's training labels
    per_class: tuple[int, ...] = ()  # or counts a class
    draws: int = 1  # choices of the labelled examples, averaged over

    def __post_init__(self) -> None:
        if self.protocol not in ("standard", "paper"):
            raise DecoctError(f"probe protocol {self.protocol!r} is unknown; use standard or paper")
        for fraction in self.fractions:
            if not 0 < fraction <= 1:
                raise DecoctError(f"label fraction {fraction} is outside (0, 1]")


@dataclass(frozen=True)
class ProbeScore:
    """One probe's accuracy, in per cent, on all test images."""

    task: str
    labels: str  # "5%", or "10 a class"
    draw: int
    accuracy: float


def probe(
    *,
    encoder: Encoder,
    task: Task,
    config: ProbeConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[ProbeScore]:
    """Fit probes on the encoder's features at every label fraction and count of `config`.

    The labelled examples depend on the seed and the task alone, so that encoders compare in pairs.
    """
    config = config or ProbeConfig()
    choices = [(f"{100 * f:g}%", {"fraction": f}) for f in config.fractions]
    choices += [(f"{n} a class", {"per_class": n}) for n in config.per_class]
    labelled = [
        (label, draw, labelled_indices(task, seed=seed, draw=draw, **choice))  # type: ignore[arg-type]
        for label, choice in choices
        for draw in range(config.draws)
    ]
    train, test = (encoder.embed(part, device=device) for part in (task.train, task.test))

    def score(label: str, draw: int, index: Tensor) -> ProbeScore:
        accuracy = probe_accuracy(
            train[index], task.train_labels[index], test, task.test_labels,
            classes=task.classes, protocol=config.protocol,
        )  # fmt: skip
        return ProbeScore(task=task.name, labels=label, draw=draw, accuracy=accuracy)

    # Matrices this small gain nothing from a second BLAS thread: a core does a probe of its own.
    scores = []
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(os.cpu_count()) as workers,
        progress(f"probing {task.name}", total=len(labelled)) as advance,
    ):
        for found in workers.map(score, *zip(*labelled, strict=True)):
            scores.append(found)
            advance(f"{found.accuracy:.1f} %")
    return scores


def probe_accuracy(
    train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, *, classes: int, protocol: str
) -> float:
    """Accuracy in per cent of a probe fitted on n x F features and n labels (int64)."""
    x, y, x_test = train.double().numpy(), labels.numpy(), test.double().numpy()
    if protocol == "standard":
        scale = x.std(0)
        scale[scale < 1e-12] = 1.0
        x, x_test = x / scale, x_test / scale
        penalty = cross_validated_penalty(x, y, classes=classes)
    else:
        penalty = _PAPER_PENALTY
    weights, intercept = fit_logistic(x, y, classes=classes, penalty=penalty)
    predicted = (x_test @ weights + intercept).argmax(1)
    return 100 * float((predicted == test_labels.numpy()).mean())


def fit_logistic(
    features: Array, labels: Array, *, classes: int, penalty: float, tolerance: float = 1e-6
) -> tuple[Array, Array]:
    """Minimise mean cross-entropy + penalty * |W|^2 by L-BFGS in float64, to convergence.

    n x F features and n labels give F x classes weights W and the intercepts, which are not
    penalised. scikit-learn's LogisticRegression has C = 1 / (2 n penalty). `tolerance` is the
    largest entry of the (preconditioned) gradient at the end.

    >>> x = np.array([[-1.0], [1.0]])
    >>> weights, intercept = fit_logistic(x, np.array([0, 1]), classes=2, penalty=0.1)
    >>> (x @ weights + intercept).argmax(1)
    array([0, 1])
    """
    return _Path(features, labels, classes).fit(penalty, tolerance)


class _Path:
    """Logistic regression on one set of examples, at one penalty after another.

    In the basis of the features' singular vectors the Hessian is nearly diagonal, about
    s^2 / (n classes) + 2 penalty: scaling by that makes L-BFGS converge in tens of steps.
    """

    def __init__(self, features: Array, labels: Array, classes: int) -> None:
        self.mean = features.mean(0)
        _, self.singular, self.directions = np.linalg.svd(features - self.mean, full_matrices=False)
        self.x = (features - self.mean) @ self.directions.T  # n x r
        self.one_hot = np.eye(classes)[labels]
        self.shape = (self.x.shape[1] + 1, classes)
        self.weights = np.zeros(self.shape)  # the last row is the intercept

    def fit(self, penalty: float, tolerance: float) -> tuple[Array, Array]:
        """Weights and intercept at this penalty, starting from those of the last."""
        n, classes = self.one_hot.shape
        curvature = np.append(self.singular**2 / (n * classes) + 2 * penalty, 1 / classes)
        scale = curvature[:, None] ** -0.5

        def objective(flat: Array) -> tuple[float, Array]:
            weights = flat.reshape(self.shape) * scale
            logits = self.x @ weights[:-1] + weights[-1]
            logits -= logits.max(1, keepdims=True)
            log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            residual = (np.exp(log_p) - self.one_hot) / n
            gradient = np.vstack(
                [self.x.T @ residual + 2 * penalty * weights[:-1], residual.sum(0)]
            )
            loss = -(log_p * self.one_hot).sum() / n + penalty * np.square(weights[:-1]).sum()
            return float(loss), (gradient * scale).ravel()

        result = scipy.optimize.minimize(
            objective, (self.weights / scale).ravel(), jac=True, method="L-BFGS-B",
            options={"gtol": tolerance, "ftol": 0, "maxiter": 5000, "maxfun": 10000, "maxcor": 20},
        )  # fmt: skip
        self.weights = result.x.reshape(self.shape) * scale
        weights = self.directions.T @ self.weights[:-1]
        return weights, self.weights[-1] - self.mean @ weights


def cross_validated_penalty(features: Array, labels: Array, *, classes: int) -> float:
    """The penalty of least held-out cross-entropy over stratified folds of the labelled examples.

    With one example a class nothing can be held out: the middle of the grid is taken.
    """
    fold = _folds(labels)
    if fold.max() < 1:
        return _PENALTIES[len(_PENALTIES) // 2]
    held_out = np.zeros(len(_PENALTIES))
    for k in range(fold.max() + 1):
        path = _Path(features[fold != k], labels[fold != k], classes)
        for i, penalty in enumerate(_PENALTIES):
            weights, intercept = path.fit(penalty, tolerance=1e-4)
            logits = features[fold == k] @ weights + intercept
            log_p = scipy.special.log_softmax(logits, axis=1)
            held_out[i] -= log_p[np.arange(len(log_p)), labels[fold == k]].sum()
    return _PENALTIES[int(held_out.argmin())]


def _folds(labels: Array) -> NDArray[np.int64]:
    """A fold for each example, each class spread evenly over at most five folds.

    The only example of a class is in none (-1): held out, it would be a class never seen.
    """
    fold = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) == 1:
            fold[members] = -1
            continue
        order = torch.randperm(len(members), generator=seeding.generator(0, "folds", int(label)))
        fold[members[order.numpy()]] = np.arange(len(members)) % _FOLDS
    return fold
