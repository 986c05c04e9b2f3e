"""Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230): decorrelate the embedding's dimensions."""

import torch
from torch import Tensor

from decoct.core.shapes import Features, Scalar


def barlow_twins_loss(first: Features, second: Features, *, redundancy: float = 5e-3) -> Scalar:
    """sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, C the views' cross-correlation.

    `first` and `second` are the B x D embeddings of two views of the same images; each dimension
    is standardised over the batch first (eq. 1 and 2 of the paper). A scalar.

    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(barlow_twins_loss(z, z).item(), 3)
    0.0
    """
    correlation = _standardise(first).T @ _standardise(second) / len(first)
    diagonal = correlation.diagonal()
    invariance = (1 - diagonal).square().sum()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return invariance + redundancy * off_diagonal


def _standardise(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    return centred * torch.rsqrt(centred.square().mean(0) + 1e-5)
