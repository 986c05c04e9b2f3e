"""Does a contrastive gradient vary more? The linear model of MKDT's theorem during training.

The paper (section 4) compares self-supervised with supervised learning for f(x) = W x. Here the
variance is exact (`linear_losses`) and divided by the squared length of the mean gradient, because
the variance alone depends on the loss's unit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.studies.variance.linear_losses import SpectralContrastive, SquaredError

_MOST_STEPS = 20_000  # of gradient descent

Loss = SquaredError | SpectralContrastive


@dataclass(frozen=True)
class LinearModelRow:
    """The gradient of one loss at one point of training, for batches of one size."""

    loss: str  # "squared error" or "contrastive"
    progress: float  # at least this fraction of the way from the initial to the least full loss
    step: int  # of gradient descent on the full loss
    batch: int  # B
    variance: float  # trace of the covariance
    signal: float  # squared length of the mean

    @property
    def noise_to_signal(self) -> float:
        """Variance / squared length of the mean: it does not depend on the loss's unit."""
        return self.variance / self.signal if self.signal else float("inf")


def linear_model_variance(
    *,
    images: Tensor,
    targets: Tensor,
    positives: Tensor | None = None,
    batches: Sequence[int] = (16, 64, 256),
    progress: Sequence[float] = (0.0, 0.5, 0.9, 0.99),
    seed: int = 0,
) -> list[LinearModelRow]:
    """The exact variance of both losses' gradients along gradient descent on each full loss.

    `images` are n x d, `targets` n x k (one-hot, or the teacher's), `positives` n x d (a second
    view of each image; None: the image itself, as the theorem assumes). Both start from the same W,
    initialised as in `torch.nn.Linear`. A point of training is where the full loss has gone the
    given fraction of the way to its minimum. Raises `DecoctError` for invalid input.

    >>> images, targets = theorem_data(classes=3, per_class=20, dimensions=8)
    >>> rows = linear_model_variance(images=images, targets=targets, batches=[32], progress=[0.5])
    >>> [row.loss for row in rows]
    ['squared error', 'contrastive']
    """
    positives = images if positives is None else positives
    _check(images, targets, positives, batches, progress)
    x, y, views = images.double(), targets.double(), positives.double()
    outputs, inputs = y.shape[1], x.shape[1]
    draws = seeding.generator(seed, "diagnose", "linear")
    start = (2 * torch.rand(outputs, inputs, generator=draws, dtype=x.dtype) - 1) / inputs**0.5
    error, contrast = SquaredError(x, y), SpectralContrastive(x, views)
    kinds: list[tuple[str, Loss, float]] = [
        ("squared error", error, error.least()),
        ("contrastive", contrast, contrast.least(outputs)),
    ]
    rows = []
    for name, loss, least in kinds:
        for share, (step, weights) in zip(
            sorted(progress), _descent(loss, start, least, sorted(progress)), strict=True
        ):
            moments = loss.moments(weights)
            rows += [
                LinearModelRow(name, share, step, size, moments.variance(size), moments.signal)
                for size in batches
            ]
    return rows


def linear_model_table(rows: Sequence[LinearModelRow]) -> list[str]:
    """Both losses side by side, one line per point of training and batch size.

    >>> images, targets = theorem_data(classes=3, per_class=20, dimensions=8)
    >>> rows = linear_model_variance(images=images, targets=targets, batches=[32], progress=[0.5])
    >>> linear_model_table(rows)[0].split("  ")[0]
    'progress'
    """
    lines = [
        (
            "progress",
            "batch",
            "variance: squared error",
            "contrastive",
            "noise / signal: squared error",
            "contrastive",
            "contrastive / squared error",
        )
    ]
    contrastive = {(r.progress, r.batch): r for r in rows if r.loss == "contrastive"}
    for row in rows:
        if row.loss == "squared error":
            other = contrastive[row.progress, row.batch]
            lines.append(
                (
                    f"{row.progress:.0%}",
                    str(row.batch),
                    f"{row.variance:.3g}",
                    f"{other.variance:.3g}",
                    f"{row.noise_to_signal:.3g}",
                    f"{other.noise_to_signal:.3g}",
                    f"{other.noise_to_signal / row.noise_to_signal:.2f}",
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def theorem_data(
    *, classes: int, per_class: int, dimensions: int, noise: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The theorem's kind of data: equally large classes, each a mean plus noise; one-hot targets.

    The means are orthogonal, of length sqrt(d); `noise` is each pixel's standard deviation.
    n x d and n x k in float64. Raises `DecoctError` if there are more classes than dimensions.

    >>> images, targets = theorem_data(classes=3, per_class=20, dimensions=8)
    >>> images.shape, targets.sum(0)
    (torch.Size([60, 8]), tensor([20., 20., 20.], dtype=torch.float64))
    """
    if not 1 <= classes <= dimensions or per_class < 1:
        raise DecoctError(
            f"{classes} classes of {per_class} images have no orthogonal means in {dimensions} "
            "dimensions; take at least one image, and at most as many classes as dimensions"
        )
    draws = seeding.generator(seed, "diagnose", "theorem")
    frame = torch.randn(dimensions, classes, generator=draws, dtype=torch.float64)
    means = torch.linalg.qr(frame).Q.T * dimensions**0.5
    targets = torch.eye(classes, dtype=torch.float64).repeat_interleave(per_class, 0)
    spread = torch.randn(len(targets), dimensions, generator=draws, dtype=torch.float64)
    return targets @ means + noise * spread, targets


def flattened(images: Images, dimensions: int) -> Tensor:
    """Images as input for a linear model: n x `dimensions` principal components of variance 1.

    >>> flattened(Images.from_array(torch.rand(9, 3, 4, 4)), 5).shape
    torch.Size([9, 5])
    """
    pixels = images.normalised().flatten(1)
    return fit_targets(pixels, TargetsConfig(components=dimensions)).values


def _descent(
    loss: Loss, weights: Tensor, least: float, progress: Sequence[float]
) -> Iterator[tuple[int, Tensor]]:
    """The step where the loss first has gone each (ascending) fraction of the way to `least`.

    The rate is halved until a step achieves nine tenths of what the slope predicts, so that descent
    stays close to its continuous limit, and doubled after each step.
    """
    value, gradient = _slope(loss, weights)
    first, step, rate = value, 0, 1.0
    for share in progress:
        while value - least > (1 - share) * (first - least):
            if step == _MOST_STEPS or rate < torch.finfo(weights.dtype).tiny:
                raise DecoctError(
                    f"after {step} steps of gradient descent the loss has not gone {share:.0%} of "
                    "its way; ask for less progress, or give images of fewer dimensions"
                )
            promised = float(gradient.square().sum())
            trial = weights - rate * gradient
            if float(loss.on_all(trial)) > value - 0.9 * rate * promised:
                rate /= 2
                continue
            weights, step, rate = trial, step + 1, 2 * rate
            value, gradient = _slope(loss, weights)
        yield step, weights


def _slope(loss: Loss, weights: Tensor) -> tuple[float, Tensor]:
    """The full loss and its gradient."""
    leaf = weights.clone().requires_grad_()
    value = loss.on_all(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient


def _check(
    images: Tensor,
    targets: Tensor,
    positives: Tensor,
    batches: Sequence[int],
    progress: Sequence[float],
) -> None:
    if images.ndim != 2 or targets.ndim != 2 or len(images) != len(targets):
        raise DecoctError(
            "images must be n x d and targets n x k, one per image; they are "
            f"{tuple(images.shape)} and {tuple(targets.shape)}"
        )
    if positives.shape != images.shape:
        raise DecoctError(
            f"the views are {tuple(positives.shape)} and the images {tuple(images.shape)}; "
            "give one view for each image, of the same dimensions"
        )
    if len(images) < 2 or not all(bool(t.isfinite().all()) for t in (images, targets, positives)):
        raise DecoctError("at least 2 images are needed, and finite numbers throughout")
    if not batches or min(batches) < 2:
        raise DecoctError(f"batches of {tuple(batches)}; a contrastive loss needs at least 2 each")
    if not progress or min(progress) < 0 or max(progress) >= 1:
        raise DecoctError(f"progress is {tuple(progress)}; give fractions from 0 to below 1")
