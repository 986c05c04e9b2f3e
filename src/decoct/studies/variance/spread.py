"""How far runs of one objective diverge that start alike and differ only in batches and views."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from decoct.artefacts.trajectories import Trajectories
from decoct.studies.variance.gradient_variance import quantile


@dataclass(frozen=True)
class Spread:
    """The spread after an epoch, where theta_k - theta_0 is the displacement of run k."""

    epoch: int
    ratio: float  # sum_k |theta_k - mean|^2 / (K - 1) over |mean - theta_0|^2
    error: float  # the jackknife's standard error, leaving one run out; 0 for two runs
    runs: int
    cosine: float  # of two runs' displacements, mean over pairs

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of `ratio` (Student's t)."""
        return quantile(self.runs - 1) * self.error


def spread_by_epoch(trajectories: Trajectories) -> list[Spread]:
    """The spread after each epoch, of two or more runs with the same initial parameters."""
    runs = [trajectories.expert(k) for k in range(len(trajectories))]
    return [
        _spread(epoch, torch.stack([run[epoch].double() - run[0].double() for run in runs]))
        for epoch in range(1, trajectories.epochs + 1)
    ]


def _spread(epoch: int, moved: Tensor) -> Spread:
    """From displacements K x P, using only their K x K inner products."""
    products, count = moved @ moved.T, len(moved)
    lengths = products.diagonal().sqrt()
    cosines = products / lengths.outer(lengths)
    pairs = count * (count - 1)
    mean_cosine = float(cosines.sum() - cosines.diagonal().sum()) / pairs
    error = 0.0
    if count > 2:
        kept = torch.eye(count) == 0
        left = torch.tensor([_ratio(products[row][:, row]) for row in kept])
        error = math.sqrt((count - 1) * float(left.var(correction=0)))
    return Spread(epoch, _ratio(products), error, count, mean_cosine)


def _ratio(products: Tensor) -> float:
    count = len(products)
    mean_square = float(products.mean())
    total = max(0.0, float(products.diagonal().sum()) - count * mean_square)
    return total / (count - 1) / mean_square
