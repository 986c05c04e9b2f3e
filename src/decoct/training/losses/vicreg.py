"""VICReg (Bardes, Ponce & LeCun 2022, arXiv 2105.04906): variance, invariance, covariance."""

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.core.shapes import Features, Scalar


def vicreg_loss(
    first: Features,
    second: Features,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Scalar:
    """The loss is invariance * s + variance * (v(Z) + v(Z')) / 2 + covariance * (c(Z) + c(Z')).

    s is the mean squared difference, v the hinge that keeps each dimension's deviation above 1,
    c the squared off-diagonal covariances divided by D (section 4.1; v is halved as in the authors'
    code). `first` and `second` are the B x D embeddings of two views of the same images.

    >>> z = 2 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> vicreg_loss(z, z).item()
    0.0
    """
    return (
        invariance * F.mse_loss(first, second)
        + variance * (_hinge(first) + _hinge(second)) / 2
        + covariance * (_off_diagonal(first) + _off_diagonal(second))
    )


def _hinge(z: Tensor) -> Tensor:
    return F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean()


def _off_diagonal(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
