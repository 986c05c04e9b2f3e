"""The variance of the batch gradient for a linear model, in closed form (MKDT, section 4).

f(x) = W x with W k x d, over a data set of n images from which batches are drawn independently.
The gradients of both losses are U-statistics (Hoeffding 1948): means of a symmetric kernel h(i, j)
over the pairs of a batch. So for every batch of B examples

    tr Var = 4 (B - 2) / (B (B - 1)) zeta_1 + 2 / (B (B - 1)) zeta_2,

with zeta_1 = tr Cov(E[h | i]), zeta_2 = tr Cov(h(i, j)). The derivation is in docs/variance.md.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from decoct.core.errors import DecoctError

_BLOCK = 2**22  # pairs at a time: 32 MB per matrix
_TOLERANCE = 1e-9  # relative: below this, a direction has no variance


@dataclass(frozen=True)
class GradientMoments:
    """The mean of a batch's gradient, and the two numbers that determine its variance."""

    mean: Tensor  # k x d
    single: float  # zeta_1: variance of a pair's gradient that one of its images accounts for
    pair: float  # zeta_2: variance of a pair's gradient

    def variance(self, batch: int) -> float:
        """The trace of the covariance of the gradient for a batch of at least 2 examples.

        >>> GradientMoments(torch.zeros(1, 1), single=1.0, pair=2.0).variance(4)  # 4 zeta_1 / B
        1.0
        """
        pairs = batch * (batch - 1)
        return (4 * (batch - 2) * self.single + 2 * self.pair) / pairs

    @property
    def signal(self) -> float:
        """Squared length of the mean."""
        return float(self.mean.square().sum())


@dataclass(frozen=True)
class SquaredError:
    """1/B sum |W x_i - y_i|^2: supervised learning (one-hot targets) and distillation alike."""

    images: Tensor  # n x d, float64
    targets: Tensor  # n x k

    def on_batch(self, weights: Tensor, index: Tensor) -> Tensor:
        """The loss of W (k x d) on the examples at `index` (int64, B)."""
        residuals = self.images[index] @ weights.T - self.targets[index]
        return residuals.square().sum(1).mean()

    def on_all(self, weights: Tensor) -> Tensor:
        """The loss on all images, which is the expected loss of a batch."""
        return self.on_batch(weights, torch.arange(len(self.images)))

    def least(self) -> float:
        """The smallest loss that any W can reach."""
        solution = torch.linalg.pinv(self.images) @ self.targets
        return float(self.on_all(solution.T))

    def moments(self, weights: Tensor) -> GradientMoments:
        """Exact; h(i, j) is the mean of two examples' gradients, zeta_1 = zeta / 4 = zeta_2 / 2."""
        residuals = self.images @ weights.T - self.targets
        mean = 2 * residuals.T @ self.images / len(residuals)
        squares = 4 * residuals.square().sum(1) * self.images.square().sum(1)
        variance = float(squares.mean() - mean.square().sum())
        return GradientMoments(mean, single=variance / 4, pair=variance / 2)


@dataclass(frozen=True)
class SpectralContrastive:
    """-2/B sum f(x_i).f(x_i+) + 1/(B(B-1)) sum_{i != j} (f(x_i).f(x_j))^2 (HaoChen et al. 2021)."""

    images: Tensor  # n x d, float64
    positives: Tensor  # n x d: another view of each; the images themselves without augmentation

    def on_batch(self, weights: Tensor, index: Tensor) -> Tensor:
        """The loss of W (k x d) on the examples at `index` (int64, B of at least 2)."""
        outputs, views = self.images[index] @ weights.T, self.positives[index] @ weights.T
        squares = (outputs @ outputs.T).square()
        others = (squares.sum() - squares.diagonal().sum()) / (len(index) * (len(index) - 1))
        return others - 2 * (outputs * views).sum(1).mean()

    def on_all(self, weights: Tensor) -> Tensor:
        """A batch's expected loss: draws are independent, so an image can be paired with itself."""
        between = weights @ self._square @ weights.T
        return between.square().sum() - 2 * ((weights @ self._cross) * weights).sum()

    @cached_property
    def _square(self) -> Tensor:
        """S, the mean of x x^T: d x d."""
        return self.images.T @ self.images / len(self.images)

    @cached_property
    def _cross(self) -> Tensor:
        """The symmetrised mean of x x+^T: d x d."""
        cross = self.images.T @ self.positives / len(self.images)
        return (cross + cross.T) / 2

    def least(self, outputs: int) -> float:
        """The smallest loss that a W with k outputs can reach.

        With V = W S^1/2 and A = S^-1/2 (mean of x x+^T) S^-1/2 the loss is |V^T V - A|^2 - |A|^2,
        so the best V^T V keeps A's k largest positive eigenvalues. Raises `DecoctError` if the loss
        has no minimum, because views have components in directions that no image has.
        """
        values, vectors = torch.linalg.eigh(self._square)
        there = values > _TOLERANCE * values[-1]
        outside = self._cross @ vectors[:, ~there]
        if outside.norm() > _TOLERANCE**0.5 * self._cross.norm():
            raise DecoctError(
                "the views have components in directions that no image has, so the loss has no "
                "minimum; reduce images and views to fewer dimensions by one PCA"
            )
        root = vectors[:, there] * values[there].rsqrt()
        overlap = torch.linalg.eigvalsh(root.T @ self._cross @ root)
        return -float(overlap.clamp_min(0)[-outputs:].square().sum())

    def moments(self, weights: Tensor) -> GradientMoments:
        """Exact, in O(n^2 (k + d)) time; pairs are processed in blocks.

        With L_i(c) = W (x_i c^T + c x_i^T), the gradient of the attracting part is
        a_i = -2 L_i(x_i+), and the repelling part's b_ij has E[b_ij | i] = 2 L_i(u_i),
        u_i = S W^T W x_i.
        """
        pulled = self.images @ weights.T @ weights @ self._square  # u: n x d
        views = self.positives
        of_view, alone = self._mean(weights, views), 2 * pulled - views
        mean = 2 * (self._mean(weights, pulled) - of_view)
        single = self._inner(weights, alone, alone) - self._mean(weights, alone).square().sum()
        pair = (
            2 * self._inner(weights, views, views)
            + 2 * of_view.square().sum()
            - 8 * self._inner(weights, views, pulled)
            + self._repulsion(weights)
            - mean.square().sum()
        )
        return GradientMoments(mean, single=float(single), pair=float(pair))

    def _mean(self, weights: Tensor, c: Tensor) -> Tensor:
        """The mean of L_i(c_i): k x d."""
        outer = self.images.T @ c / len(c)
        return weights @ (outer + outer.T)

    def _inner(self, weights: Tensor, c: Tensor, e: Tensor) -> Tensor:
        """The mean of <L_i(c_i), L_i(e_i)>."""
        x = self.images
        wx, wc, we = x @ weights.T, c @ weights.T, e @ weights.T
        parts = _dot(wx, wx) * _dot(c, e) + _dot(wc, we) * _dot(x, x)
        return (parts + _dot(wx, we) * _dot(c, x) + _dot(wc, wx) * _dot(x, e)).mean()

    def _repulsion(self, weights: Tensor) -> Tensor:
        """E |b_ij|^2 = 8 E[s^2 |f_i|^2 |x_j|^2] + 8 E[s^3 x_i.x_j], s = f_i.f_j."""
        x, f = self.images, self.images @ weights.T
        by_output, by_image = (f.T @ (f * _dot(v, v)[:, None]) for v in (f, x))
        total = (by_output * by_image).sum()
        size = max(1, _BLOCK // len(x))
        for some_x, some_f in zip(x.split(size), f.split(size), strict=True):
            total += ((some_f @ f.T).pow_(3) * (some_x @ x.T)).sum()
        return 8 * total / len(x) ** 2


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The dot product of corresponding rows."""
    return (a * b).sum(1)
