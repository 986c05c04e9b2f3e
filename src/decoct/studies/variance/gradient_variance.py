"""How much of a mini-batch gradient is noise: unbiased estimates of tr Cov(g) and |E g|^2.

For R independent gradients with mean m, tr Cov is estimated by sum |g - m|^2 / (R - 1), and
|E g|^2 by |m|^2 - tr Cov / R, which can be negative if all is noise.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import scipy.stats
import torch
from torch import Tensor

from decoct.core import seeding
from decoct.core.console import Advance
from decoct.matching.kernel_ridge import exact
from decoct.studies.variance.objectives import Problem
from decoct.training.expert import Gradient

_GROUPS = 8  # of the jackknife: the number of sums in memory, for any number of gradients


@dataclass(frozen=True)
class Noise:
    """The noise of a gradient, and its uncertainty."""

    trace: float  # tr Cov(g)
    signal: float  # |E g|^2
    error: float  # the jackknife's standard error of signal / trace
    groups: int  # number of jackknife groups
    cosine: float  # mean cosine of two independent gradients

    @property
    def ratio(self) -> float:
        """Noise to signal; infinite if no signal is distinguishable from noise."""
        return self.trace / self.signal if self.signal > 0 else math.inf

    @property
    def signal_to_noise(self) -> float:
        """The inverse of `ratio`, finite if the signal is lost in noise; infinite without noise."""
        return self.signal / self.trace if self.trace > 0 else math.inf

    def interval(self) -> tuple[float, float]:
        """A 95 % interval of `ratio` (Student's t for signal to noise); may extend to infinity."""
        if self.trace == 0:
            return self.ratio, self.ratio
        half = quantile(self.groups - 1) * self.error
        ends = (self.signal_to_noise + half, self.signal_to_noise - half)
        low, high = (1 / end if end > 0 else math.inf for end in ends)
        return low, high


def quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t.

    >>> round(quantile(7), 3)
    2.365
    """
    return float(scipy.stats.t.ppf(0.975, freedom))


def compare_noise(one: Noise, other: Noise) -> int:
    """1 if `one` is significantly noisier (95 %), -1 if it is less noisy, otherwise 0."""
    if one.trace == 0 or other.trace == 0:
        return (one.trace > 0) - (other.trace > 0)
    difference = other.signal_to_noise - one.signal_to_noise
    freedom = min(one.groups, other.groups) - 1
    within = quantile(freedom) * math.hypot(one.error, other.error)
    return 0 if abs(difference) <= within else int(math.copysign(1, difference))


@torch.no_grad()
def gradient_noise(gradients: Iterable[Tensor]) -> Noise:
    """The noise of two or more independent gradients (P each); keeps only sums, in float64.

    >>> noise = gradient_noise([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])])
    >>> noise.trace, noise.signal  # the mean is (2, 2)
    (2.0, 7.0)
    """
    sums: list[Tensor] = []
    squares, counts = [0.0] * _GROUPS, [0] * _GROUPS
    before, cosines = None, []
    for r, raw in enumerate(gradients):
        gradient, group = exact(raw), r % _GROUPS
        if group == len(sums):
            sums.append(torch.zeros_like(gradient))
        sums[group] += gradient
        squares[group] += float(gradient @ gradient)
        counts[group] += 1
        if before is not None:
            cosines.append(float(torch.cosine_similarity(before, gradient, dim=0)))
        before = gradient
    groups = len(sums)
    total, square, count = torch.stack(sums).sum(0), sum(squares), sum(counts)
    trace, signal = _moments(total, square, count)
    error = 0.0
    if trace > 0 and groups > 2:
        left = [
            _moments(total - sums[j], square - squares[j], count - counts[j]) for j in range(groups)
        ]
        error = _jackknife([s / t if t > 0 else math.inf for t, s in left])
    return Noise(trace, signal, error, groups, math.fsum(cosines) / len(cosines))


def _moments(total: Tensor, square: float, count: int) -> tuple[float, float]:
    """Estimates of tr Cov and |E g|^2 from the sum of gradients and the sum of their squares."""
    mean_square = float(total @ total) / count**2
    trace = max(0.0, (square - count * mean_square) / (count - 1))
    return trace, mean_square - trace / count


def _jackknife(values: list[float]) -> float:
    """The standard error of an estimate, from the estimates without one group each."""
    mean = math.fsum(values) / len(values)
    return math.sqrt((1 - 1 / len(values)) * math.fsum((v - mean) ** 2 for v in values))


@torch.no_grad()
def measure_noise(
    problem: Problem,
    gradient: Gradient,
    theta: Tensor,
    *,
    batch: int,
    repeats: int,
    fixed: bool,
    seed: int,
    epoch: int,
    advance: Advance,
) -> Noise:
    """The noise at parameters `theta` (P), over batches drawn without replacement, and their views.

    With `fixed`, the batch stays and only views are drawn; then an objective without views has no
    noise. All objectives get the same batches at an `epoch`. Calls `advance` after each of the
    `repeats` gradients.
    """

    def draw() -> Iterator[Tensor]:
        for r in range(repeats):
            order = seeding.generator(seed, "variance", epoch, batch, 0 if fixed else r)
            index = torch.randperm(len(problem.images), generator=order)[:batch]
            pictures = problem.images.normalised(index)
            values = problem.values[index.to(problem.values.device)]
            with seeding.seeded(seed, "variance", epoch, batch, "views", r):
                yield gradient(theta, pictures, values)[1]
            advance("")

    return gradient_noise(draw())
